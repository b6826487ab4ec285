import Authority
import Identity
import MeshModel
import MeshTestKit
import Store
import Synchronization

/// An authority of a test: its vault and store outlive it, as a disk outlives a process.
struct Office: Sendable {
    static let now = CertificateMint.now
    let vault: any KeyVault
    let store: any KeyValueStore

    init(vault: any KeyVault = MemoryVault(), store: any KeyValueStore = MemoryStore()) {
        self.vault = vault
        self.store = store
    }

    func open(
        _ cluster: String = "east", _ domain: String = "east.mesh", now: WallTime = Office.now
    ) throws -> Authority {
        guard let cluster = ClusterID(cluster), let domain = TrustDomain(domain) else {
            throw IdentityError.keyMismatch
        }
        return try Authority.open(vault: vault, store: store, cluster: cluster, trustDomain: domain, now: now)
    }
}

extension WallTime {
    func after(_ seconds: Int64) -> WallTime { advanced(bySeconds: seconds) }
}

/// What a process that asks for an SVID holds.
struct Applicant: ~Copyable {
    let key: PrivateKey
    let request: CertificateRequest

    init() throws(IdentityError) {
        let key = try PrivateKey.generate()
        request = try CertificateRequest(der: CertificateRequest.make(key: key))
        self.key = key
    }
}

/// A vault that dies at the n-th call that changes something, before or after doing it.
final class CrashingVault: KeyVault {
    private let inner: MemoryVault
    private let left: Mutex<Int>
    private let after: Bool

    init(_ inner: MemoryVault, at call: Int, after: Bool) {
        self.inner = inner
        left = Mutex(call)
        self.after = after
    }

    private func step(_ body: () throws(AuthorityError) -> Void) throws(AuthorityError) {
        let dies = tick()
        if dies, !after { throw .refusedState("crash") }
        try body()
        if dies { throw .refusedState("crash") }
    }

    private func tick() -> Bool {
        left.withLock { left in
            left -= 1
            return left < 0
        }
    }

    func stage(_ name: String, _ key: borrowing PrivateKey) throws(AuthorityError) {
        let dies = tick()
        if dies, !after { throw .refusedState("crash") }
        try inner.stage(name, key)
        if dies { throw .refusedState("crash") }
    }
    func confirm(_ name: String) throws(AuthorityError) {
        try step { () throws(AuthorityError) in try inner.confirm(name) }
    }
    func destroy(_ name: String) throws(AuthorityError) {
        try step { () throws(AuthorityError) in try inner.destroy(name) }
    }
    func key(_ name: String) throws(AuthorityError) -> PrivateKey? { try inner.key(name) }
    func confirmedNames() throws(AuthorityError) -> [String] { try inner.confirmedNames() }
    func stagedNames() throws(AuthorityError) -> [String] { try inner.stagedNames() }
}

/// A store whose n-th commit fails: with nothing written, or with everything written and the answer lost.
final class CrashingStore: KeyValueStore {
    private let inner: any KeyValueStore
    private let left: Mutex<Int>
    private let after: Bool

    init(_ inner: any KeyValueStore, at commit: Int, after: Bool) {
        self.inner = inner
        left = Mutex(commit)
        self.after = after
    }

    var revision: Revision { inner.revision }

    func read<Result: Sendable>(
        _ body: (any StoreReading) throws(StoreError) -> Result
    ) throws(StoreError) -> Result { try inner.read(body) }

    func commit(_ works: [StoreWork]) -> [Result<Revision?, StoreError>] {
        let dies = left.withLock { left in
            left -= 1
            return left < 0
        }
        guard dies else { return inner.commit(works) }
        if after { _ = inner.commit(works) }
        return works.map { _ in .failure(.unavailable("crash")) }
    }

    func changes(since revision: Revision, limit: Int) throws(StoreError) -> StoreHistory {
        try inner.changes(since: revision, limit: limit)
    }
    func observe(_ notice: @escaping @Sendable (Revision) -> Void) -> StoreObservation { inner.observe(notice) }
    func close() throws(StoreError) { try inner.close() }
}
