internal import Compiler
internal import Manifest
internal import MeshModel
internal import Store
internal import Wire

/// Why a change of the objects is refused; nothing of it was written.
struct ObjectRefusal: Error {
    let status: GRPCStatus
    /// Every problem, one line each.
    let text: String

    init(_ status: GRPCStatus, _ text: String) {
        self.status = status
        self.text = text
    }
}

/// The configuration: one change after the other, each judged as a whole, durable before it is used.
final class ObjectDesk {
    /// Changes that wait; a person or a pipeline applies one at a time.
    private static let maximumWaiting = 256

    typealias Judge = (ObjectBook) throws(ObjectRefusal) -> ObjectBook
    private struct Change {
        let make: Judge
        let isDryRun: Bool
        let then: (Result<ObjectBook, ObjectRefusal>) -> Void
    }

    private unowned let broker: Broker
    private(set) var book: ObjectBook
    /// Why the directory's content is not the one in use; empty when it is.
    private(set) var directoryError = ""
    private var waiting: [Change] = []
    private var isBusy = false

    init(_ broker: Broker, _ book: ObjectBook) {
        self.broker = broker
        self.book = book
    }

    /// Queues a change: `make` gives the new book, or refuses. `then` gets the book in use afterwards; in a dry run the
    /// one that would be.
    func change(
        dryRun: Bool = false, _ make: @escaping Judge, then: @escaping (Result<ObjectBook, ObjectRefusal>) -> Void
    ) {
        guard waiting.count < Self.maximumWaiting else {
            return then(.failure(ObjectRefusal(.unavailable, "too many changes wait; try again")))
        }
        waiting.append(Change(make: make, isDryRun: dryRun, then: then))
        next()
    }

    /// What was read from the directory, or why it could not be.
    func directoryRead(_ outcome: Result<[MeshObject], ManifestError>) {
        switch outcome {
        case .failure(let error): refuseDirectory(error.description)
        case .success(let objects):
            change { (book) throws(ObjectRefusal) in
                try Self.refuseTwins(objects)
                var book = book
                book.replaceDirectory(objects)
                return book
            } then: { [unowned self] result in
                switch result {
                case .success:
                    if !directoryError.isEmpty { broker.log.info("the configuration directory is accepted again") }
                    directoryError = ""
                case .failure(let refusal): refuseDirectory(refusal.text)
                }
            }
        }
    }

    func refuseDirectory(_ text: String) {
        if text != directoryError {
            broker.log.error("the configuration directory is refused; what ran goes on", ["problems": text])
        }
        directoryError = text
    }

    /// An object that stands twice in one change would silently lose one of its forms.
    static func refuseTwins(_ objects: [MeshObject]) throws(ObjectRefusal) {
        var places: [ObjectKey: SourceLocation] = [:]
        for object in objects {
            if let first = places.updateValue(object.metadata.location, forKey: ObjectKey(object)) {
                let text = "\(object.metadata.location): \(object.subject): is defined twice, first at \(first)"
                throw ObjectRefusal(.invalidArgument, text + "; rename or remove one of them")
            }
        }
    }

    private func next() {
        guard !isBusy, !waiting.isEmpty else { return }
        isBusy = true
        let change = waiting.removeFirst()
        let made: ObjectBook
        do throws(ObjectRefusal) {
            made = try change.make(book)
            try broker.snapshots.judge(made.all)
        } catch {
            return finish(change, .failure(error))
        }
        let rows = made.difference(from: book)
        guard !change.isDryRun, !rows.isEmpty else { return finish(change, .success(made)) }
        broker.desk.write { (transaction) throws(StoreError) in
            try Self.write(rows, transaction)
        } then: { [unowned self] result in
            switch result {
            case .success:
                book = made
                broker.snapshots.compile()
                finish(change, .success(made))
            case .failure(let error): finish(change, .failure(ObjectRefusal(.unavailable, error.description)))
            }
        }
    }

    private func finish(_ change: Change, _ result: Result<ObjectBook, ObjectRefusal>) {
        isBusy = false
        change.then(result)
        next()
    }

    /// One transaction; marks that a configuration was accepted.
    static func write(_ rows: [(key: StoreKey, value: [UInt8]?)], _ transaction: any StoreTransaction)
        throws(StoreError)
    {
        for row in rows {
            if let value = row.value {
                try transaction.put(row.key, value)
            } else {
                try transaction.delete(row.key)
            }
        }
        if try transaction.get(BrokerTable.acceptedKey) == nil { try transaction.put(BrokerTable.acceptedKey, [1]) }
    }
}
