internal import ControlCoding
internal import ControlProtocol
internal import Manifest
internal import MeshModel
internal import RPC
internal import Wire

/// `meshfed apply | delete | get`.
extension AdminService {
    /// Objects of one apply.
    private static let maximumObjects = 65_536

    func installObjects(_ service: RPCService) {
        verb(service, "Apply", limit: CodingLimits.adminBytes) { [unowned self] request, answer in
            apply(request, answer)
        }
        verb(service, "Delete", limit: CodingLimits.adminBytes) { [unowned self] request, answer in
            delete(request, answer)
        }
        view(service, "Get") { [unowned self] request throws(CallRefusal) in try get(request) }
    }

    private func apply(
        _ request: AdminApplyRequest, _ answer: @escaping (Result<AdminApplyResponse, CallRefusal>) -> Void
    ) {
        let objects: [MeshObject]
        do throws(CallRefusal) { objects = try Self.read(request) } catch { return answer(.failure(error)) }
        var results: [AdminAppliedObject] = []
        broker.objects.change(dryRun: request.dryRun) { (book) throws(ObjectRefusal) in
            try ObjectDesk.refuseTwins(objects)
            var next = book
            results = []
            for object in objects {
                if let owner = book.owner(ObjectKey(object)) {
                    throw ObjectRefusal(
                        .failedPrecondition, "\(object.subject) belongs to the file \(owner): change it there")
                }
                next.put(object)
                results.append(Self.result(object, before: book))
            }
            return next
        } then: { [unowned self] outcome in
            switch outcome {
            case .failure(let refusal): answer(.failure(CallRefusal(refusal)))
            case .success:
                var response = AdminApplyResponse()
                response.objects = results
                response.revision = broker.snapshots.revision
                response.dryRun = request.dryRun
                if !request.dryRun { broker.log.info("objects applied", ["count": "\(objects.count)"]) }
                answer(.success(response))
            }
        }
    }

    private func delete(
        _ request: AdminDeleteRequest, _ answer: @escaping (Result<AdminDeleteResponse, CallRefusal>) -> Void
    ) {
        guard !request.objects.isEmpty, request.objects.count <= Self.maximumObjects else {
            return answer(.failure(CallRefusal(.invalidArgument, "a delete names 1 to \(Self.maximumObjects) objects")))
        }
        var results: [AdminAppliedObject] = []
        broker.objects.change(dryRun: request.dryRun) { (book) throws(ObjectRefusal) in
            let known = Dictionary(book.all.map { (Self.reference($0), $0) }, uniquingKeysWith: { first, _ in first })
            var next = book
            results = []
            for reference in request.objects {
                let shown = [reference.namespace, reference.name].filter { !$0.isEmpty }.joined(separator: "/")
                guard let object = known[reference] else {
                    throw ObjectRefusal(
                        .failedPrecondition,
                        "there is no \(Self.shown(reference.kind)) \(Self.shown(shown)); meshfed get lists what there is"
                    )
                }
                if let owner = book.owner(ObjectKey(object)) {
                    throw ObjectRefusal(
                        .failedPrecondition, "\(object.subject) belongs to the file \(owner): remove it there")
                }
                guard next.remove(ObjectKey(object)) else {
                    throw ObjectRefusal(.invalidArgument, "\(object.subject) is named twice")
                }
                var message = AdminAppliedObject()
                message.kind = reference.kind
                message.namespace = reference.namespace
                message.name = reference.name
                message.result = "deleted"
                results.append(message)
            }
            return next
        } then: { [unowned self] outcome in
            switch outcome {
            case .failure(let refusal): answer(.failure(CallRefusal(refusal)))
            case .success:
                var response = AdminDeleteResponse()
                response.objects = results
                response.revision = broker.snapshots.revision
                response.dryRun = request.dryRun
                if !request.dryRun { broker.log.info("objects deleted", ["count": "\(results.count)"]) }
                answer(.success(response))
            }
        }
    }

    private static func reference(_ object: MeshObject) -> AdminObjectReference {
        var message = AdminObjectReference()
        message.kind = object.kind
        message.namespace = object.isClusterScoped ? "" : object.metadata.namespace.description
        message.name = object.metadata.name.description
        return message
    }

    /// All objects or all problems.
    private static func read(_ request: AdminApplyRequest) throws(CallRefusal) -> [MeshObject] {
        guard !request.objects.isEmpty, request.objects.count <= maximumObjects else {
            throw CallRefusal(.invalidArgument, "an apply holds 1 to \(maximumObjects) objects")
        }
        var objects: [MeshObject] = []
        var problems: [String] = []
        for (index, text) in request.objects.enumerated() {
            do throws(ManifestError) {
                objects += try ManifestReader.objects(in: text, file: "object \(index + 1)")
            } catch {
                problems.append(error.description)
            }
            if problems.count >= ManifestError.maximumProblems { break }
        }
        guard problems.isEmpty else { throw CallRefusal(.invalidArgument, problems.joined(separator: "\n")) }
        return objects
    }

    private static func result(_ object: MeshObject, before book: ObjectBook) -> AdminAppliedObject {
        var message = AdminAppliedObject()
        message.kind = object.kind
        message.namespace = object.isClusterScoped ? "" : object.metadata.namespace.description
        message.name = object.metadata.name.description
        message.result =
            switch book.object(ObjectKey(object)) {
            case nil: "created"
            case let held?: held.json == ManifestWriter.json(object) ? "unchanged" : "configured"
            }
        return message
    }

    private func get(_ request: AdminGetRequest) throws(CallRefusal) -> AdminGetResponse {
        let book = broker.objects.book
        let known = Set(book.all.map(\.kind))
        // A kind is matched without regard to case, and in the plural too, as kubectl does.
        let wanted = request.kind.lowercased()
        func matches(_ kind: String) -> Bool {
            let kind = kind.lowercased()
            let plural = kind.hasSuffix("y") ? kind.dropLast() + "ies" : kind + "s"
            return wanted.isEmpty || wanted == "all" || wanted == kind || wanted == plural
        }
        if !wanted.isEmpty, wanted != "all", !Self.kinds.contains(where: matches), !known.contains(where: matches) {
            let list = Self.kinds.joined(separator: ", ")
            throw CallRefusal(.invalidArgument, "unknown kind '\(Self.shown(request.kind))'; one of: \(list)")
        }
        var found: [HeldObject] = []
        for object in book.all where matches(object.kind) {
            let metadata = object.metadata
            guard request.name.isEmpty || metadata.name.description == request.name,
                request.namespace.isEmpty || object.isClusterScoped
                    || metadata.namespace.description == request.namespace,
                let held = book.object(ObjectKey(object))
            else { continue }
            found.append(held)
        }
        guard !found.isEmpty || request.name.isEmpty else {
            throw CallRefusal(.notFound, "there is no \(Self.shown(request.kind)) '\(Self.shown(request.name))'")
        }
        var response = AdminGetResponse()
        response.objects = found.sorted {
            ($0.key.kind, $0.key.name) < ($1.key.kind, $1.key.name)
        }.map { held in
            var message = AdminStoredObject()
            message.kind = held.object.kind
            message.namespace = held.object.isClusterScoped ? "" : held.object.metadata.namespace.description
            message.name = held.object.metadata.name.description
            message.json = held.json
            message.source = book.owner(held.key) ?? ""
            return message
        }
        return response
    }

    private static let kinds = [
        "AuthorizationPolicy", "Cluster", "Import", "MeshPolicy", "RateLimitPolicy", "Service", "ServiceExport",
        "TrafficPolicy", "Workload",
    ]
}
