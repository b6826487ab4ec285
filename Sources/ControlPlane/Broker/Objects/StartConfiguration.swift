internal import Compiler
internal import Manifest
internal import MeshModel
internal import Settings
internal import Store
internal import Wire

/// The objects that a start runs with: those of the directory as it is now; where that is refused, the last accepted ones.
struct StartConfiguration {
    let book: ObjectBook
    /// Why the directory's content is not in use; empty when it is.
    let directoryError: String

    /// Throws `configuration` for a directory that is refused while nothing was accepted before (PROTOCOLS section 9).
    init(_ settings: BrokerSettings, _ records: BrokerRecords, _ store: any KeyValueStore) throws(BrokerFailure) {
        let last = ObjectBook(stored: records.stored, directory: records.directory)
        var next = last
        var problem = ""
        if let path = settings.configDirectory {
            switch DirectoryWatch.objects(path) {
            case .failure(let error): problem = error.description
            case .success(let objects):
                do throws(ObjectRefusal) {
                    try ObjectDesk.refuseTwins(objects)
                    next.replaceDirectory(objects)
                    try Self.judge(next, settings)
                } catch {
                    problem = error.text
                }
            }
        } else {
            next.replaceDirectory([])
        }
        guard problem.isEmpty else {
            guard records.wasAccepted else { throw .configuration(problem) }
            book = last
            directoryError = problem
            return
        }
        let rows = next.difference(from: last)
        do throws(StoreError) {
            try store.write { (transaction) throws(StoreError) in try ObjectDesk.write(rows, transaction) }
        } catch {
            throw BrokerFailure(error)
        }
        book = next
        directoryError = ""
    }

    /// Members do not matter here: no problem of a set of objects comes from them.
    private static func judge(_ book: ObjectBook, _ settings: BrokerSettings) throws(ObjectRefusal) {
        var identifiers = IDTable()
        do throws(CompileError) {
            _ = try SnapshotCompiler.compile(
                CompilerInput(
                    cluster: settings.cluster, trustDomain: settings.trustDomain, epoch: 1, revision: 1,
                    objects: book.all), identifiers: &identifiers)
        } catch {
            throw ObjectRefusal(.invalidArgument, error.description)
        }
    }
}
