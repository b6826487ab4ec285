package import Identity
import Synchronization

/// Where private keys lie. A key is staged before the database knows of it and confirmed after, so that a crash at any point
/// leaves either a key that the database names, or one that was never used.
package protocol KeyVault: AnyObject, Sendable {
    /// Writes durably a key that is not in use yet.
    func stage(_ name: String, _ key: borrowing PrivateKey) throws(AuthorityError)
    /// Makes a staged key a confirmed one; does nothing when it is confirmed already.
    func confirm(_ name: String) throws(AuthorityError)
    /// Nil when there is none, staged or confirmed.
    func key(_ name: String) throws(AuthorityError) -> PrivateKey?
    /// Destroys a key, staged or confirmed; does nothing when there is none.
    func destroy(_ name: String) throws(AuthorityError)
    /// Names of the confirmed keys, sorted.
    func confirmedNames() throws(AuthorityError) -> [String]
    /// Names of the staged keys, sorted.
    func stagedNames() throws(AuthorityError) -> [String]
}

/// Keys in memory, for tests and simulations. It outlives the authority that uses it, as a disk does.
package final class MemoryVault: KeyVault {
    private struct State {
        var staged: [String: [UInt8]] = [:]
        var confirmed: [String: [UInt8]] = [:]
    }
    private let state = Mutex(State())

    package init() {}

    package func stage(_ name: String, _ key: borrowing PrivateKey) throws(AuthorityError) {
        let der: [UInt8]
        do throws(IdentityError) { der = try key.der() } catch { throw .identity(error) }
        state.withLock { $0.staged[name] = der }
    }

    package func confirm(_ name: String) throws(AuthorityError) {
        state.withLock { state in
            if let key = state.staged.removeValue(forKey: name) { state.confirmed[name] = key }
        }
    }

    package func key(_ name: String) throws(AuthorityError) -> PrivateKey? {
        guard let der = state.withLock({ $0.confirmed[name] ?? $0.staged[name] }) else { return nil }
        return try identified { () throws(IdentityError) in try PrivateKey(der: der) }
    }

    package func destroy(_ name: String) throws(AuthorityError) {
        state.withLock { state in
            state.staged[name] = nil
            state.confirmed[name] = nil
        }
    }

    package func confirmedNames() throws(AuthorityError) -> [String] { state.withLock { $0.confirmed.keys.sorted() } }
    package func stagedNames() throws(AuthorityError) -> [String] { state.withLock { $0.staged.keys.sorted() } }
}
