/// Where `unsafe` may stand, how often, and with what reason beside it.
enum UnsafeUse {
    /// A folder, or a single file, and how many `unsafe` it may hold at most. Raise a number only with a reason in the commit.
    struct Allowance {
        let path: String
        let limit: Int
        let why: String
    }

    /// The longest prefix of a path counts.
    static func allowance(for path: String, in list: [Allowance]) -> Allowance? {
        list.filter { path == $0.path || path.hasPrefix($0.path + "/") }.max { $0.path.count < $1.path.count }
    }

    static func count(_ text: SwiftText) -> Int {
        text.code.reduce(0) { $0 + SwiftText.count("unsafe", in: $1) }
    }

    /// How far a SAFETY line may be from its use: the body of a function below it, or the declaration above it.
    static let reach = (before: 40, after: 20)

    /// Lines with `unsafe` that no SAFETY line is near to.
    static func unexplained(_ text: SwiftText, at path: String) -> [String] {
        let reasons = text.comments.indices.filter { text.comments[$0].contains("SAFETY") }
        return text.code.indices
            .filter { line in
                SwiftText.count("unsafe", in: text.code[line]) > 0
                    && !reasons.contains { $0 >= line - reach.before && $0 <= line + reach.after }
            }
            .map { "\(path):\($0 + 1): unsafe without a SAFETY line" }
    }

    /// Counts per file against the list.
    static func problems(_ counts: [String: Int], _ list: [Allowance]) -> [String] {
        var found: [String] = []
        var sums: [String: Int] = [:]
        for (path, count) in counts where count > 0 {
            guard let allowance = allowance(for: path, in: list) else {
                found.append("\(path) holds \(count) unsafe and may hold none")
                continue
            }
            sums[allowance.path, default: 0] += count
        }
        for allowance in list {
            let sum = sums[allowance.path, default: 0]
            if sum > allowance.limit {
                found.append("\(allowance.path) holds \(sum) unsafe, \(allowance.limit) are allowed")
            }
        }
        return found.sorted()
    }
}
