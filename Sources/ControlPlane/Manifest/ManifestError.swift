package import MeshModel

/// Everything that is wrong with one file, or with the files of one directory.
///
/// All problems are collected, so that a person mends a file in one go; the list is bounded.
package struct ManifestError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The most problems that are listed; more than a person reads at once, few enough for one screen and a log line.
    package static let maximumProblems = 50

    /// In the order of the files and lines.
    package var problems: [ObjectProblem]
    /// How many more were found.
    package var omitted: Int

    package init(problems: [ObjectProblem], omitted: Int = 0) {
        self.problems = Array(problems.prefix(Self.maximumProblems))
        self.omitted = omitted + max(0, problems.count - Self.maximumProblems)
    }

    /// One line for each problem.
    package var description: String {
        var lines = problems.map(\.description)
        if omitted > 0 { lines.append("… and \(omitted) more") }
        return lines.joined(separator: "\n")
    }
}

/// The problems of one reading, in a reference so that every cursor adds to the same list.
final class ProblemList {
    private(set) var problems: [ObjectProblem] = []
    private(set) var omitted = 0

    var isEmpty: Bool { problems.isEmpty }
    var total: Int { problems.count + omitted }

    func add(_ problem: ObjectProblem) {
        if problems.count < ManifestError.maximumProblems { problems.append(problem) } else { omitted += 1 }
    }

    var error: ManifestError { ManifestError(problems: problems, omitted: omitted) }
}

/// Where a document is read from and what it is called so far.
final class Scope {
    let file: String
    let problems: ProblemList
    /// Contents of a file that the object names (`caFile`), relative to the manifest; nil where it cannot be read.
    let attachment: (String) -> [UInt8]?
    var subject = ""

    init(file: String, problems: ProblemList, attachment: @escaping (String) -> [UInt8]?) {
        self.file = file
        self.problems = problems
        self.attachment = attachment
    }

    /// The same file and list for another object.
    func sibling() -> Scope { Scope(file: file, problems: problems, attachment: attachment) }

    func report(line: Int, path: String, _ what: String, _ advice: String) {
        problems.add(
            ObjectProblem(
                location: SourceLocation(file: file, line: line), subject: subject, path: path, what: what,
                advice: advice))
    }
}
