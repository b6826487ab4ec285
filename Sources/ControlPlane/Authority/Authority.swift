package import Identity
package import MeshModel
package import Store
import Synchronization

/// The certificate authority of one cluster: its keys, what they signed, and the rights to enrol.
///
/// Roots and keys are made once, in an empty place; afterwards keys and database must fit, or nothing starts. All that is
/// written goes through one transaction per step (`AuthorityDesk`), so that a crash loses nothing that was answered.
package final class Authority: Sendable {
    /// The name of the federation key in the vault.
    static let federationName = "federation"
    static let prefix = "authority-"

    package let cluster: ClusterID
    package let trustDomain: TrustDomain
    /// The public half of the federation key, which names the cluster among the members (PROTOCOLS section 7).
    package let federationKey: PublicKey

    let store: any KeyValueStore
    let random: RandomSource
    /// Life of the certificates that are given from now on.
    let svidLifetime: Duration
    private let vault: any KeyVault
    private let federation: SigningKey
    private let keys: Mutex<[String: SigningKey]>

    /// A private key that several owners sign with.
    final class SigningKey: Sendable {
        let key: PrivateKey
        init(_ key: consuming PrivateKey) { self.key = key }
    }

    private init(
        cluster: ClusterID, trustDomain: TrustDomain, store: any KeyValueStore, vault: any KeyVault,
        random: @escaping RandomSource, svidLifetime: Duration, federation: SigningKey, keys: [String: SigningKey]
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.store = store
        self.vault = vault
        self.random = random
        self.svidLifetime = svidLifetime
        self.federation = federation
        federationKey = federation.key.publicKey
        self.keys = Mutex(keys)
    }

    /// Opens the authority of `cluster`, or founds it where vault and store are both empty. Call it before anything else is
    /// written to the store.
    ///
    /// Throws `refusedState` when keys and database do not belong together, or belong to another cluster or trust domain.
    package static func open(
        vault: any KeyVault, store: any KeyValueStore, cluster: ClusterID, trustDomain: TrustDomain, now: WallTime,
        svidLifetime: Duration = CertificateBuilder.svidLifetime, random: @escaping RandomSource = SystemRandom.source
    ) throws(AuthorityError) -> Authority {
        let meta = try stored { () throws(StoreError) in try store.get(AuthorityTable.metaKey) }
        guard let meta else {
            return try found(
                vault: vault, store: store, cluster: cluster, trustDomain: trustDomain, now: now,
                svidLifetime: svidLifetime, random: random)
        }
        let record = try RecordCoding.decode(MetaRecord.self, meta)
        guard record.cluster == cluster.description, record.trustDomain == trustDomain.description else {
            throw .refusedState(
                "the database is of cluster \(record.cluster), trust domain \(record.trustDomain), not of "
                    + "\(cluster), \(trustDomain): use its own state directory")
        }
        let federation = try key(federationName, vault)
        guard Hex.encode(federation.key.publicKey.spki) == record.federationKey else {
            throw .refusedState("the federation key is not the one that the database knows: restore the whole backup")
        }
        let machine = try AuthorityView.read(store) { (view) throws(AuthorityError) in try view.machine() }
        var keys: [String: SigningKey] = [:]
        for entry in machine.entries {
            if entry.phase == .revoked {
                try vault.destroy(prefix + entry.id)
                continue
            }
            let key = try key(prefix + entry.id, vault)
            let root = try identified { () throws(IdentityError) in try Certificate(der: entry.root) }
            guard key.key.publicKey == root.publicKey else {
                throw .refusedState("the key of authority \(entry.id) is not its root's: restore the whole backup")
            }
            keys[entry.id] = key
        }
        for name in try vault.confirmedNames() where name.hasPrefix(prefix) {
            guard keys[String(name.dropFirst(prefix.count))] != nil else {
                throw .refusedState(
                    "the database does not know the key \(name): it is older than its keys; restore both")
            }
        }
        for name in try vault.stagedNames() { try vault.destroy(name) }
        return Authority(
            cluster: cluster, trustDomain: trustDomain, store: store, vault: vault, random: random,
            svidLifetime: svidLifetime, federation: federation, keys: keys)
    }

    /// A confirmed key; one that the database names but that is still staged is confirmed first.
    private static func key(_ name: String, _ vault: any KeyVault) throws(AuthorityError) -> SigningKey {
        try vault.confirm(name)
        guard let key = try vault.key(name) else {
            throw .refusedState("the database is here, its key \(name) is not: restore the whole backup")
        }
        return SigningKey(key)
    }

    private static func found(
        vault: any KeyVault, store: any KeyValueStore, cluster: ClusterID, trustDomain: TrustDomain, now: WallTime,
        svidLifetime: Duration, random: @escaping RandomSource
    ) throws(AuthorityError) -> Authority {
        guard store.revision == .zero else {
            throw .refusedState("the database holds records but no authority: it is damaged or of another program")
        }
        let names = try vault.confirmedNames()
        guard names.isEmpty else {
            throw .refusedState("the keys \(names.joined(separator: ", ")) are here, their database is not: restore it")
        }
        // Keys that were staged and never named by a database: a first start that did not come to its end.
        for name in try vault.stagedNames() { try vault.destroy(name) }
        let federation = SigningKey(try identified { () throws(IdentityError) in try PrivateKey.generate() })
        let signing = SigningKey(try identified { () throws(IdentityError) in try PrivateKey.generate() })
        let root = try makeRoot(signing, trustDomain, now, random)
        let id = Self.id(signing.key.publicKey)
        try vault.stage(federationName, federation.key)
        try vault.stage(prefix + id, signing.key)
        let authority = Authority(
            cluster: cluster, trustDomain: trustDomain, store: store, vault: vault, random: random,
            svidLifetime: svidLifetime, federation: federation, keys: [id: signing])
        let meta = MetaRecord(
            cluster: cluster.description, trustDomain: trustDomain.description,
            federationKey: Hex.encode(federation.key.publicKey.spki))
        try authority.write { (desk) throws(AuthorityError) in
            var machine = AuthorityMachine()
            try machine.found(id: id, root: root, now: now)
            let bytes = try RecordCoding.encode(meta)
            guard
                try stored({ () throws(StoreError) in
                    try desk.transaction.put(AuthorityTable.metaKey, bytes, if: .absent)
                })
            else { throw .refusedState("the authority was founded twice") }
            try desk.save(machine)
        }
        try vault.confirm(federationName)
        try vault.confirm(prefix + id)
        return authority
    }

    // MARK: life cycle

    /// Makes a new key and puts its root into the bundle. Returns the authority's ID.
    package func prepare(now: WallTime) throws(AuthorityError) -> String {
        let signing = SigningKey(try identified { () throws(IdentityError) in try PrivateKey.generate() })
        let root = try Self.makeRoot(signing, trustDomain, now, random)
        let id = Self.id(signing.key.publicKey)
        try vault.stage(Self.prefix + id, signing.key)
        do throws(AuthorityError) {
            try write { (desk) throws(AuthorityError) in
                var machine = try desk.view.machine()
                try machine.prepare(id: id, root: root, now: now)
                try desk.save(machine)
            }
        } catch {
            // A commit that failed may still have reached the disk: the key is kept then, and judged at the next start.
            if case .store = error { throw error }
            try vault.destroy(Self.prefix + id)
            throw error
        }
        try vault.confirm(Self.prefix + id)
        keys.withLock { $0[id] = signing }
        return id
    }

    /// Lets a prepared key sign once everybody holds its root; see `AuthorityMachine.activate`.
    package func activate(_ id: String, acknowledged: UInt64, now: WallTime) throws(AuthorityError) {
        try write { (desk) throws(AuthorityError) in
            var machine = try desk.view.machine()
            try machine.activate(id: id, acknowledged: acknowledged, now: now)
            try desk.save(machine)
        }
    }

    /// Gives up a prepared key.
    package func taint(_ id: String, now: WallTime) throws(AuthorityError) {
        try write { (desk) throws(AuthorityError) in
            var machine = try desk.view.machine()
            try machine.taint(id: id, now: now)
            try desk.save(machine)
        }
    }

    /// Takes a tainted root out of the bundle and destroys its key; see `AuthorityMachine.revoke`.
    package func revoke(_ id: String, force: Bool = false, now: WallTime) throws(AuthorityError) {
        try write { (desk) throws(AuthorityError) in
            var machine = try desk.view.machine()
            let signed = try desk.view.lastEnd(signedBy: id, after: now)
            try machine.revoke(id: id, signed: signed, force: force, now: now)
            try desk.save(machine)
        }
        keys.withLock { $0[id] = nil }
        try vault.destroy(Self.prefix + id)
    }

    // MARK: transactions

    /// Runs `body` in one durable transaction on this thread; when it throws, nothing of it is written.
    package func write<Value: Sendable>(
        _ body: (AuthorityDesk) throws(AuthorityError) -> Value
    ) throws(AuthorityError) -> Value {
        var outcome: Result<Value, AuthorityError>?
        do throws(StoreError) {
            try store.write { (transaction) throws(StoreError) in
                try attempt(transaction, body) { outcome = $0 }
            }
        } catch {
            if case .failure(let refusal)? = outcome { throw refusal }
            throw .store(error)
        }
        guard let outcome else { throw .store(.closed) }
        return try outcome.get()
    }

    /// The same on the store thread. Throws when the thread takes no more work; then `completion` is not called.
    package func submit<Value: Sendable>(
        to thread: StoreThread, _ body: @escaping @Sendable (AuthorityDesk) throws(AuthorityError) -> Value,
        completion: @escaping @Sendable (Result<Value, AuthorityError>) -> Void
    ) throws(StoreError) {
        let slot = Slot<Value>()
        try thread.submit { [self] (transaction) throws(StoreError) -> Void in
            slot.outcome.withLock { $0 = nil }
            try attempt(transaction, body) { outcome in slot.outcome.withLock { $0 = outcome } }
        } completion: { committed in
            let outcome = slot.outcome.withLock { $0 }
            switch (committed, outcome) {
            case (.success, let outcome?): completion(outcome)
            case (.failure, .failure(let refusal)?): completion(.failure(refusal))
            case (.failure(let error), _): completion(.failure(.store(error)))
            case (.success, nil): completion(.failure(.store(.closed)))
            }
        }
    }

    /// The authority's work inside a transaction of another module's. An error must make that transaction throw.
    package func desk(_ transaction: any StoreTransaction) -> AuthorityDesk {
        AuthorityDesk(authority: self, transaction: transaction)
    }

    /// Reads at one point in time.
    package func read<Value: Sendable>(
        _ body: (AuthorityView) throws(AuthorityError) -> Value
    ) throws(AuthorityError) -> Value {
        try AuthorityView.read(store, body)
    }

    /// The bundle of the own trust domain as it stands.
    package func bundle(now: WallTime) throws(AuthorityError) -> TrustBundle {
        let trustDomain = trustDomain
        return try read { (view) throws(AuthorityError) in try view.bundle(of: trustDomain, now: now) }
    }

    /// r‖s with the federation key over `context ‖ message`.
    package func signWithFederationKey(
        _ message: [UInt8], context: SignatureContext = .record
    ) throws(AuthorityError) -> [UInt8] {
        try identified { () throws(IdentityError) in try federation.key.sign(message, context: context) }
    }

    /// The key with this ID, as long as it is not revoked.
    func signingKey(_ id: String) -> SigningKey? { keys.withLock { $0[id] } }

    private func attempt<Value>(
        _ transaction: any StoreTransaction, _ body: (AuthorityDesk) throws(AuthorityError) -> Value,
        _ report: (Result<Value, AuthorityError>) -> Void
    ) throws(StoreError) {
        do throws(AuthorityError) {
            report(.success(try body(desk(transaction))))
        } catch {
            report(.failure(error))
            // The store's own error passes unchanged: a failing disk has to end the whole commit.
            if case .store(let inner) = error { throw inner }
            throw .conflict(error.word)
        }
    }

    private final class Slot<Value: Sendable>: Sendable {
        let outcome = Mutex<Result<Value, AuthorityError>?>(nil)
    }

    static func id(_ key: PublicKey) -> String { Hex.encode(Array(key.fingerprint.prefix(8))) }

    private static func makeRoot(
        _ signing: SigningKey, _ trustDomain: TrustDomain, _ now: WallTime, _ random: RandomSource
    ) throws(AuthorityError) -> [UInt8] {
        try identified { () throws(IdentityError) in
            try CertificateBuilder.root(
                trustDomain: trustDomain, key: signing.key, serial: try CertificateBuilder.serial(random), now: now)
        }
    }
}
