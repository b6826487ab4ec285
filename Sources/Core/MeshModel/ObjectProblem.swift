/// One thing that is wrong with one configuration object: what the Manifest finds in a file and the Compiler across
/// objects, both in the same words.
package struct ObjectProblem: Hashable, Sendable, CustomStringConvertible {
    package var location: SourceLocation
    /// `Kind namespace/name`, or empty where the object could not be named.
    package var subject: String
    /// The key inside the object, `spec.ports[0].port`, or empty.
    package var path: String
    /// What is wrong.
    package var what: String
    /// What to try, or empty.
    package var advice: String

    package init(location: SourceLocation, subject: String, path: String, what: String, advice: String) {
        self.location = location
        self.subject = subject
        self.path = path
        self.what = what
        self.advice = advice
    }

    /// `file:line: Kind ns/name: key.path: what; what to try`.
    package var description: String {
        let head = ["\(location)", subject, path, what].filter { !$0.isEmpty }.joined(separator: ": ")
        return advice.isEmpty ? head : "\(head); \(advice)"
    }
}
