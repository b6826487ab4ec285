internal import Authority
internal import ControlProtocol
internal import Identity
internal import MeshModel
internal import RPC
internal import Wire

/// `meshfed token create | list | revoke`.
extension AdminService {
    func installTokens(_ service: RPCService) {
        verb(service, "CreateToken") { [unowned self] request, answer in createToken(request, answer) }
        view(service, "ListTokens") { [unowned self] request throws(CallRefusal) in try listTokens(request) }
        verb(service, "RevokeToken") { [unowned self] request, answer in revokeToken(request, answer) }
    }

    private func createToken(
        _ request: AdminCreateTokenRequest, _ answer: @escaping (Result<AdminCreateTokenResponse, CallRefusal>) -> Void
    ) {
        let wanted: TokenRequest
        do throws(CallRefusal) { wanted = try tokenRequest(request) } catch { return answer(.failure(error)) }
        let wall = broker.loop.wall
        broker.desk.write(broker.state.authority) { (desk) throws(AuthorityError) in
            let token = try desk.createToken(wanted, now: wall)
            return (token, try desk.view.token(secret: token.secret, now: wall))
        } then: { [unowned broker] (result: Result<(JoinToken, TokenDescription), AuthorityError>) in
            switch result {
            case .failure(let error): answer(.failure(CallRefusal(error)))
            case .success((let token, let description)):
                broker.log.info(
                    "token created", ["token": token.name, "for": "\(token.purpose.word) \(token.subject)"])
                var response = AdminCreateTokenResponse()
                response.token = token.text
                response.description_p = Self.message(description)
                answer(.success(response))
            }
        }
    }

    private func tokenRequest(_ request: AdminCreateTokenRequest) throws(CallRefusal) -> TokenRequest {
        let subject: TokenSubject
        switch request.purpose {
        case .sidecar:
            subject = .sidecar(
                namespace: try Self.label(request.namespace, "namespace"),
                serviceAccount: try Self.label(request.serviceAccount, "service account"))
        case .gateway: subject = .gateway(name: try Self.label(request.name, "gateway"))
        case .admin: subject = .admin(name: try Self.label(request.name, "admin"))
        case .federation:
            let cluster = try Self.cluster(request.cluster)
            let text = request.trustDomain.isEmpty ? "\(cluster).mesh" : request.trustDomain
            guard let domain = TrustDomain(text) else {
                throw CallRefusal(.invalidArgument, "'\(Self.shown(text))' is no trust domain")
            }
            subject = .federation(cluster: cluster, trustDomain: domain)
        case .unspecified, .UNRECOGNIZED:
            throw CallRefusal(.invalidArgument, "say for whom: --for sidecar|gateway|admin|federation")
        }
        if !request.reusable, request.maximumUses > 1 {
            throw CallRefusal(.invalidArgument, "--max-uses needs --reusable")
        }
        if request.reusable, request.maximumUses < 1 {
            throw CallRefusal(.invalidArgument, "--reusable needs --max-uses, so that a lost token has an end")
        }
        let lifetime = request.ttlSeconds == 0 ? TokenRequest.defaultLifetime : .seconds(Int64(request.ttlSeconds))
        return TokenRequest(
            subject: subject, lifetime: lifetime, uses: request.reusable ? Int(request.maximumUses) : 1,
            addresses: broker.ownJoinAddresses)
    }

    private func listTokens(_ request: AdminListTokensRequest) throws(CallRefusal) -> AdminListTokensResponse {
        do throws(AuthorityError) {
            let tokens = try broker.state.authority.read { (view) throws(AuthorityError) in try view.tokens() }
            var response = AdminListTokensResponse()
            response.tokens = tokens.map(Self.message)
            return response
        } catch {
            throw CallRefusal(error)
        }
    }

    private func revokeToken(
        _ request: AdminRevokeTokenRequest, _ answer: @escaping (Result<AdminRevokeTokenResponse, CallRefusal>) -> Void
    ) {
        let name = request.id
        guard Hex.decode(name)?.count == 8 else {
            return answer(
                .failure(
                    CallRefusal(.invalidArgument, "'\(Self.shown(name))' is no token's ID; see meshfed token list")))
        }
        broker.desk.write(broker.state.authority) { (desk) throws(AuthorityError) in
            try desk.revokeToken(name)
        } then: { [unowned broker] result in
            switch result {
            case .failure(let error): answer(.failure(CallRefusal(error)))
            case .success(let description):
                broker.log.info("token revoked", ["token": name])
                var response = AdminRevokeTokenResponse()
                response.token = Self.message(description)
                answer(.success(response))
            }
        }
    }

    private static func message(_ token: TokenDescription) -> AdminToken {
        var message = AdminToken()
        message.id = token.name
        message.purpose =
            switch token.purpose {
            case .sidecar: .sidecar
            case .gateway: .gateway
            case .admin: .admin
            case .federation: .federation
            }
        message.identity = token.identity
        message.cluster = token.cluster
        message.trustDomain = token.trustDomain
        message.created = token.created.seconds
        message.expires = token.expires.seconds
        message.uses = UInt32(clamping: token.uses)
        message.maximumUses = UInt32(clamping: token.maximumUses)
        message.revoked = token.isRevoked
        return message
    }
}
