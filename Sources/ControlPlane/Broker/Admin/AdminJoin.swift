internal import Compiler
internal import ControlCoding
internal import ControlProtocol
internal import Federation
internal import Identity
internal import Manifest
internal import MeshModel
internal import RPC
internal import Settings
internal import TLS
internal import Wire

/// `meshfed join`: dials the token's broker, takes its answer over, and writes the first import rules.
extension AdminService {
    typealias JoinReply = (Result<AdminJoinResponse, CallRefusal>) -> Void
    /// From the dial to the sponsor's answer, which waits for its disk.
    private static let deadline = Duration.seconds(20)
    /// The Import object that `--import` writes; a second join adds to it.
    private static let importName = "joined"

    /// What the request asks for, judged.
    private struct JoinOrder {
        let token: JoinToken
        let rules: [ImportObject.Rule]
        let isPlan: Bool
    }

    func join(_ request: AdminJoinRequest, _ answer: @escaping JoinReply) {
        let order: JoinOrder
        do throws(CallRefusal) {
            order = try self.order(request)
            // After a leave or an eviction the old key is dead for good; a new one comes first, and lasts.
            if broker.federation.machine.isOwnKeyDead, !order.isPlan { try broker.federation.revive() }
        } catch {
            return answer(.failure(error))
        }
        broker.federation.whenDurable { [unowned self] in ask(order, answer) }
    }

    /// Sends the request to the sponsor.
    private func ask(_ order: JoinOrder, _ answer: @escaping JoinReply) {
        let message: [UInt8]
        let channel: RPCChannel
        do throws(CallRefusal) {
            do throws(FederationError) {
                message = try broker.federation.machine.joinRequest(
                    tokenSecret: order.token.secret, plan: order.isPlan)
            } catch {
                throw CallRefusal(error)
            }
            channel = try sponsorChannel(order.token)
        } catch {
            return answer(.failure(error))
        }
        channel.unary("/meshfed.federation.v1.Federation/Join", message, deadline: Self.deadline) {
            [unowned self] result in
            channel.close()
            switch result {
            case .failure(let end):
                let place = order.token.addresses.joined(separator: ", ")
                answer(.failure(CallRefusal(end, "the sponsor \(order.token.cluster) at \(place) refused")))
            case .success(let bytes): joined(order, bytes, answer)
            }
        }
    }

    private func order(_ request: AdminJoinRequest) throws(CallRefusal) -> JoinOrder {
        let token: JoinToken
        do throws(IdentityError) { token = try JoinToken(text: request.token) } catch { throw CallRefusal(error) }
        guard token.purpose == .federation else {
            throw CallRefusal(.invalidArgument, "the token is for a \(token.purpose.word), not for a federation")
        }
        guard token.subject == broker.settings.cluster.description else {
            throw CallRefusal(
                .invalidArgument,
                "the token admits cluster '\(Self.shown(token.subject))', this is \(broker.settings.cluster)")
        }
        guard token.cluster != broker.settings.cluster, token.trustDomain != broker.settings.trustDomain else {
            throw CallRefusal(.invalidArgument, "the token is of this cluster itself")
        }
        guard token.expires > broker.loop.wall else {
            throw CallRefusal(.failedPrecondition, "the token has expired; make a new one with 'meshfed token create'")
        }
        guard request.imports.count <= 1_024 else { throw CallRefusal(.invalidArgument, "too many imports") }
        var rules: [ImportObject.Rule] = []
        for item in request.imports { rules.append(try Self.rule(item)) }
        return JoinOrder(token: token, rules: rules, isPlan: request.plan)
    }

    /// `namespace` or `namespace/service`, from any member.
    private static func rule(_ text: String) throws(CallRefusal) -> ImportObject.Rule {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, let namespace = parts.first.flatMap({ Label($0) }),
            parts.count == 1 || parts[1] == "*" || Label(parts[1]) != nil
        else {
            throw CallRefusal(.invalidArgument, "import '\(shown(text))' is not namespace or namespace/service")
        }
        guard !ImportObject.isReserved(namespace) else {
            throw CallRefusal(.invalidArgument, "namespace \(namespace) is never imported")
        }
        let service = parts.count == 2 ? Label(parts[1]) : nil
        return ImportObject.Rule(cluster: nil, namespace: namespace, service: service)
    }

    private func sponsorChannel(_ token: JoinToken) throws(CallRefusal) -> RPCChannel {
        guard let target = DialTarget.of(token.addresses) else {
            throw CallRefusal(.invalidArgument, "the token holds no address that can be dialled")
        }
        let context: TLSContext
        do throws(TLSError) {
            context = try TLSContext.client(pin: token.pin, protocols: [.http2])
        } catch {
            throw CallRefusal(.internalError, error.description)
        }
        let domain = token.trustDomain
        return broker.loop.channel(
            target,
            security: .tls(context: { context }, serverName: DialTarget.serverName(token.cluster)) { peer in
                guard case .broker = peer.id.kind else { return false }
                return peer.trustDomain == domain
            })
    }

    // MARK: The sponsor's answer

    private func joined(_ order: JoinOrder, _ bytes: [UInt8], _ answer: @escaping JoinReply) {
        let domain = order.token.trustDomain
        do throws(CallRefusal) {
            let sponsor = try Self.sponsor(bytes)
            do throws(FederationError) {
                if order.isPlan {
                    let outcome = try broker.federation.machine.planned(bytes, trustDomain: domain)
                    return plan(order, outcome, sponsor, answer)
                }
                var outcome: JoinOutcome?
                try broker.federation.attempt { (machine, moment) throws(FederationError) in
                    let result = try machine.joined(bytes, trustDomain: domain, at: moment)
                    outcome = result.outcome
                    return result.actions
                }
                guard let outcome else { return }
                broker.federation.whenDurable { [unowned self] in
                    broker.log.info(
                        "joined",
                        ["sponsor": "\(outcome.sponsor)", "again": outcome.alreadyJoined ? "yes" : ""])
                    writeImports(order, outcome, sponsor, answer)
                }
            } catch {
                throw CallRefusal(error)
            }
        } catch {
            answer(.failure(error))
        }
    }

    private static func sponsor(_ bytes: [UInt8]) throws(CallRefusal) -> AdminMember {
        do throws(CodingError) {
            let record = try JoinAnswer.decode(bytes).sponsorMembership
            let statement = try MembershipStatement.decode(record.payload)
            return message(statement, record.signature(.owner)?.keyName)
        } catch {
            throw CallRefusal(.failedPrecondition, "the sponsor's answer cannot be read: \(error)")
        }
    }

    private func plan(_ order: JoinOrder, _ outcome: JoinOutcome, _ sponsor: AdminMember, _ answer: JoinReply) {
        var response = response(order, outcome, sponsor)
        response.plan = true
        if !order.rules.isEmpty {
            let object = importObject(order.rules, broker.objects.book)
            response.imports = Self.texts(object)
            response.importObject = ManifestWriter.yaml(object)
        }
        answer(.success(response))
    }

    private func writeImports(
        _ order: JoinOrder, _ outcome: JoinOutcome, _ sponsor: AdminMember, _ answer: @escaping JoinReply
    ) {
        guard !order.rules.isEmpty else { return answer(.success(response(order, outcome, sponsor))) }
        broker.objects.change { [unowned self] (book) throws(ObjectRefusal) in
            var book = book
            let object = importObject(order.rules, book)
            if let owner = book.owner(ObjectKey(object)) {
                throw ObjectRefusal(
                    .failedPrecondition,
                    "joined, but Import \(Self.importName) belongs to \(owner): write the import rules there")
            }
            book.put(object)
            return book
        } then: { [unowned self] result in
            switch result {
            case .failure(let refusal): answer(.failure(CallRefusal(refusal)))
            case .success(let book):
                var response = response(order, outcome, sponsor)
                let object = importObject(order.rules, book)
                response.imports = Self.texts(object)
                response.importObject = ManifestWriter.yaml(object)
                answer(.success(response))
            }
        }
    }

    /// The object with these rules added to those that it has.
    private func importObject(_ rules: [ImportObject.Rule], _ book: ObjectBook) -> MeshObject {
        guard let name = Label(Self.importName), let system = Label("meshfed-system") else {
            preconditionFailure("literal labels")
        }
        var body = ImportObject(rules: [], plainNames: false)
        var metadata = ObjectMetadata(
            name: name, namespace: system, location: SourceLocation(file: ObjectBook.storeName, line: 1))
        let key = ObjectKey(kind: "Import", name: metadata.objectName)
        if let known = book.object(key)?.object, case .importRules(let former) = known.body {
            body = former
            metadata = known.metadata
        }
        for rule in rules where !body.rules.contains(rule) { body.rules.append(rule) }
        return MeshObject(metadata: metadata, body: .importRules(body))
    }

    private static func texts(_ object: MeshObject) -> [String] {
        guard case .importRules(let body) = object.body else { return [] }
        return body.rules.map { rule in
            "\(rule.cluster?.description ?? "*"):\(rule.namespace)/\(rule.service?.description ?? "*")"
        }
    }

    private func response(_ order: JoinOrder, _ outcome: JoinOutcome, _ sponsor: AdminMember) -> AdminJoinResponse {
        var response = AdminJoinResponse()
        response.sponsor = member(outcome.sponsor, where: \.standing.isAdmitted) ?? sponsor
        response.sponsor.state = .admitted
        response.admitted = outcome.admitted.filter { $0 != outcome.sponsor }.map { known($0, .admitted) }
        response.pending = outcome.pending.map { known($0, .pending) }
        for service in outcome.exports {
            let covers = order.rules.contains {
                $0.namespace == service.namespace && ($0.service == nil || $0.service == service.name)
            }
            if covers {
                response.importedServices.append(service.description)
            } else {
                response.availableServices.append(service.description)
            }
        }
        response.exportedServices = (broker.snapshots.compilation?.exports ?? [])
            .filter { $0.exportTo.covers(outcome.sponsor) }.map(\.service.description)
        response.alreadyJoined = outcome.alreadyJoined
        return response
    }

    /// As the machine knows it; in a plan it may not yet.
    private func known(_ cluster: ClusterID, _ state: AdminMemberState) -> AdminMember {
        if let member = member(cluster, where: { _ in true }) { return member }
        var message = AdminMember()
        message.cluster = cluster.description
        message.state = state
        return message
    }
}
