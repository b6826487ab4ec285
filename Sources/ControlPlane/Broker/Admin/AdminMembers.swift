internal import ControlCoding
internal import ControlProtocol
internal import Federation
internal import MeshModel
internal import RPC
internal import Settings
internal import Wire

/// `meshfed leave | evict | member list | member accept`; `join` has a file of its own.
extension AdminService {
    func installMembers(_ service: RPCService) {
        verb(service, "Join") { [unowned self] request, answer in join(request, answer) }
        verb(service, "Leave") { [unowned self] request, answer in leave(request, answer) }
        verb(service, "Evict") { [unowned self] request, answer in evict(request, answer) }
        verb(service, "AcceptMember") { [unowned self] request, answer in accept(request, answer) }
        view(service, "ListMembers") { [unowned self] (_: AdminListMembersRequest) throws(CallRefusal) in
            var response = AdminListMembersResponse()
            response.members = members
            response.cluster = broker.settings.cluster.description
            return response
        }
    }

    private func leave(
        _ request: AdminLeaveRequest, _ answer: @escaping (Result<AdminLeaveResponse, CallRefusal>) -> Void
    ) {
        var told: [ClusterID] = []
        var unreached: [ClusterID] = []
        do throws(FederationError) {
            try broker.federation.attempt { (machine, moment) throws(FederationError) in
                let result = try machine.leave(reason: "left", at: moment)
                (told, unreached) = (result.told, result.unreached)
                return result.actions
            }
        } catch {
            return answer(.failure(CallRefusal(error)))
        }
        broker.federation.whenDurable { [unowned broker] in
            broker.log.warning("left the federation", ["told": told.map(\.description).joined(separator: ",")])
            var response = AdminLeaveResponse()
            response.told = told.map(\.description)
            response.unreached = unreached.map(\.description)
            answer(.success(response))
        }
    }

    private func evict(
        _ request: AdminEvictRequest, _ answer: @escaping (Result<AdminEvictResponse, CallRefusal>) -> Void
    ) {
        let cluster: ClusterID
        do throws(CallRefusal) {
            cluster = try Self.cluster(request.cluster)
            guard request.reason.utf8.count <= CodingLimits.reasonBytes,
                request.reason.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F })
            else { throw CallRefusal(.invalidArgument, "the reason is one line of at most 1,024 bytes") }
            do throws(FederationError) {
                try broker.federation.attempt { (machine, moment) throws(FederationError) in
                    try machine.evict(cluster, reason: request.reason, at: moment)
                }
            } catch {
                throw CallRefusal(error)
            }
        } catch {
            return answer(.failure(error))
        }
        broker.federation.whenDurable { [unowned self] in
            broker.log.warning("member evicted", ["cluster": "\(cluster)", "reason": request.reason])
            var response = AdminEvictResponse()
            if let member = member(cluster, where: { !$0.standing.isAdmitted }) { response.member = member }
            answer(.success(response))
        }
    }

    private func accept(
        _ request: AdminAcceptMemberRequest,
        _ answer: @escaping (Result<AdminAcceptMemberResponse, CallRefusal>) -> Void
    ) {
        let cluster: ClusterID
        do throws(CallRefusal) {
            cluster = try Self.cluster(request.cluster)
            var key: KeyName?
            if !request.federationKey.isEmpty {
                guard let read = KeyName(hexadecimal: request.federationKey) else {
                    throw CallRefusal(.invalidArgument, "the federation key is not 64 hexadecimal digits")
                }
                key = read
            }
            do throws(FederationError) {
                try broker.federation.attempt { (machine, moment) throws(FederationError) in
                    try machine.accept(cluster, key: key, at: moment)
                }
            } catch {
                throw CallRefusal(error)
            }
        } catch {
            return answer(.failure(error))
        }
        broker.federation.whenDurable { [unowned self] in
            broker.log.info("member accepted", ["cluster": "\(cluster)"])
            var response = AdminAcceptMemberResponse()
            if let member = member(cluster, where: \.standing.isAdmitted) { response.member = member }
            answer(.success(response))
        }
    }

    // MARK: Members as messages

    var members: [AdminMember] { broker.federation.machine.status(at: broker.loop.now).map(Self.message) }

    /// The first of that name that the condition takes.
    func member(_ cluster: ClusterID, where condition: (FederationMemberStatus) -> Bool) -> AdminMember? {
        broker.federation.machine.status(at: broker.loop.now)
            .first { $0.statement.cluster == cluster && condition($0) }.map(Self.message)
    }

    static func message(_ status: FederationMemberStatus) -> AdminMember {
        var message = message(status.statement, status.keyName)
        switch status.standing {
        case .admitted: message.state = .admitted
        case .pending(let reason):
            message.state = .pending
            message.reason = reason
        case .gone(let reason):
            message.state = .gone
            message.reason = reason
        }
        if let refusal = status.refusal { message.reason = "it refused our last frame: \(refusal)" }
        message.sequence = status.sequence
        message.sponsor = status.sponsor?.description ?? ""
        if let freshness = status.freshness { message.freshness = MemberCoding.message(freshness).0 }
        if let age = status.age { message.linkAgeSeconds = Double(age.wholeMilliseconds) / 1_000 }
        message.connected = status.isConnected
        if let skew = status.skew { message.clockSkewSeconds = Double(skew) }
        message.services = UInt32(clamping: status.serviceCount)
        message.version = status.version
        return message
    }

    /// What a membership record says.
    static func message(_ statement: MembershipStatement, _ key: KeyName?) -> AdminMember {
        var message = AdminMember()
        message.cluster = statement.cluster.description
        message.trustDomain = statement.trustDomain.description
        message.epoch = statement.epoch
        message.federationKey = key?.description ?? ""
        message.rootHashes = statement.rootHashes.compactMap { KeyName($0)?.description }
        message.brokerAddresses = statement.brokerAddresses
        message.gateways = statement.gateways.map(MemberCoding.message)
        return message
    }
}
