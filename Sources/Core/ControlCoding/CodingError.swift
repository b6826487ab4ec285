/// Why bytes from a file or a peer are not taken: which field, and what is wrong with it.
package struct CodingError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Problem: Hashable, Sendable {
        /// Not a message of the expected type.
        case malformed
        /// Required and not there.
        case missing
        /// More entries than the limit.
        case tooMany(limit: Int)
        /// More bytes than the limit.
        case tooLong(limit: Int)
        /// A number or an enumeration outside its range.
        case outOfRange
        /// Text that is not what the field must hold; the value says what that is.
        case notA(String)
        /// Names the same thing as another entry.
        case duplicate
        /// Points to something that is not there.
        case dangling
        /// Sound, but made for a newer release; the value says what to do.
        case unsupported(String)
    }

    /// Path of the field, such as `services[3].ports[0].port`; empty for the message as a whole.
    package var field: String
    package let problem: Problem

    package init(_ field: String, _ problem: Problem) {
        self.field = field
        self.problem = problem
    }

    package var description: String {
        let what =
            switch problem {
            case .malformed: "not a valid message"
            case .missing: "missing"
            case .tooMany(let limit): "more than \(limit) entries"
            case .tooLong(let limit): "longer than \(limit) bytes"
            case .outOfRange: "out of range"
            case .notA(let kind): "not \(kind)"
            case .duplicate: "named twice"
            case .dangling: "refers to nothing"
            case .unsupported(let advice): advice
            }
        return field.isEmpty ? what : "\(field): \(what)"
    }

    /// The same problem, seen from one level further out.
    func inside(_ outer: String) -> CodingError {
        CodingError(field.isEmpty ? outer : "\(outer).\(field)", problem)
    }
}

/// Runs `body` and puts `field` before the path of whatever it throws.
func inside<Result>(
    _ field: String, _ body: () throws(CodingError) -> Result
) throws(CodingError) -> Result {
    do { return try body() } catch { throw error.inside(field) }
}

/// Converts a repeated field under a limit; errors name the index.
func each<Element, Result>(
    _ field: String, _ list: [Element], limit: Int, _ body: (Element) throws(CodingError) -> Result
) throws(CodingError) -> [Result] {
    guard list.count <= limit else { throw CodingError(field, .tooMany(limit: limit)) }
    var results: [Result] = []
    results.reserveCapacity(list.count)
    for index in list.indices {
        do { results.append(try body(list[index])) } catch { throw error.inside("\(field)[\(index)]") }
    }
    return results
}

/// Refuses two entries with one key.
func requireUnique<Element, Key: Hashable>(
    _ field: String, _ list: [Element], _ key: (Element) -> Key
) throws(CodingError) {
    var seen: Set<Key> = []
    seen.reserveCapacity(list.count)
    for index in list.indices where !seen.insert(key(list[index])).inserted {
        throw CodingError("\(field)[\(index)]", .duplicate)
    }
}
