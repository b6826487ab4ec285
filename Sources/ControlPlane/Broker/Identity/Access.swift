internal import ControlCoding
internal import Glibc
internal import Identity
internal import MeshModel
internal import Reactor
internal import RPC
internal import Settings
internal import Wire

/// Who may call what: a valid chain is not enough (PROTOCOLS section 1).
extension Broker {
    /// Own workloads and gateways: Feed and Identity.
    func isOwnProxy(_ peer: PeerIdentity) -> Bool {
        guard peer.trustDomain == settings.trustDomain else { return false }
        switch peer.id.kind {
        case .workload, .gateway: return true
        case .broker, .admin, .other: return false
        }
    }

    /// Own admins on 15012; on the UNIX socket root and the broker's own user.
    func isAdministrator(_ peer: RPCPeer) -> Bool {
        if let identity = peer.identity {
            guard case .admin = identity.id.kind else { return false }
            return identity.trustDomain == settings.trustDomain
        }
        guard let uid = peer.uid else { return false }
        return uid == 0 || uid == geteuid()
    }

    /// Why a proxy may not subscribe as what it says it is; nil when it may.
    func refusal(of hello: SubscriberHello, from peer: PeerIdentity) -> CallRefusal? {
        switch hello.role {
        case .gateway(let name, _):
            guard case .gateway(let own) = peer.id.kind, own == name.text else {
                return CallRefusal(.permissionDenied, "\(peer.id) is not gateway \(name)")
            }
            return nil
        case .sidecar(let name):
            let key = ObjectKey(kind: "Workload", name: name)
            guard case .workload(let body)? = objects.book.object(key)?.object.body else {
                return CallRefusal(
                    .failedPrecondition, "there is no Workload \(name) in cluster \(settings.cluster); apply it first")
            }
            let expected = SPIFFEID.workload(
                in: settings.trustDomain, namespace: name.namespace, serviceAccount: body.serviceAccount)
            guard expected == peer.id else {
                return CallRefusal(.permissionDenied, "Workload \(name) runs as \(expected), not as \(peer.id)")
            }
            return nil
        }
    }
}
