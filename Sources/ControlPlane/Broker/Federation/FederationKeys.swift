internal import Authority
internal import ControlCoding
internal import Federation
internal import Identity
internal import MeshModel
internal import Settings

/// The keys that have named this cluster in the federation: the authority's first one, and one more after each leave or
/// eviction (PROTOCOLS section 7: a return needs a new key). Which of them counts is in the federation's own rows.
enum FederationKeys {
    /// Names in the vault of keys that came later: this and the beginning of the key's name.
    private static let prefix = "member-"

    /// A later key for the length of the process.
    private final class HeldKey: Sendable {
        let key: PrivateKey
        init(_ key: consuming PrivateKey) { self.key = key }
    }

    /// The machine with the key that its rows were written under.
    static func machine(
        _ settings: BrokerSettings, _ state: BrokerState, _ rows: [FederationRow], _ moment: Moment
    ) throws(BrokerFailure) -> FederationMachine {
        var held: [HeldKey] = []
        do throws(AuthorityError) {
            for name in try state.directory.confirmedNames() where name.hasPrefix(prefix) {
                if let key = try state.directory.key(name) { held.append(HeldKey(key)) }
            }
        } catch {
            throw BrokerFailure(error)
        }
        var candidates = [try signer(state.authority)]
        for key in held { candidates.append(try signer(key)) }
        var failure = FederationError.signing
        for signer in candidates {
            do throws(FederationError) {
                let configuration = FederationConfiguration(
                    cluster: settings.cluster, trustDomain: settings.trustDomain, signer: signer, verifier: .system,
                    version: Release.version, random: { UInt64.random(in: 0 ... .max) })
                return try FederationMachine(configuration, rows: rows, at: moment)
            } catch {
                failure = error
            }
        }
        throw .state("the database: \(failure), or its federation key is missing: restore the whole backup")
    }

    /// Makes a key and puts it into the vault. One that the rows never come to name does no harm.
    static func make(_ state: BrokerState) throws(BrokerFailure) -> FederationSigner {
        do {
            let key = try PrivateKey.generate()
            let name = prefix + Hex.encode(Array(key.publicKey.fingerprint.prefix(8)))
            try state.directory.stage(name, key)
            try state.directory.confirm(name)
            return try signer(HeldKey(key))
        } catch let failure as BrokerFailure {
            throw failure
        } catch {
            throw .state("a new federation key cannot be made: \(error)")
        }
    }

    private static func signer(_ authority: Authority) throws(BrokerFailure) -> FederationSigner {
        let key = authority.federationKey
        guard let name = KeyName(key.fingerprint) else { throw .state("the federation key has no name") }
        return FederationSigner(publicKey: key.spki, keyName: name) { bytes in
            // The record's own context stands in front already, and this key signs nothing else.
            let context = SignatureContext.record
            guard bytes.starts(with: context.bytes) else { return nil }
            return try? authority.signWithFederationKey(Array(bytes.dropFirst(context.bytes.count)), context: context)
        }
    }

    private static func signer(_ held: HeldKey) throws(BrokerFailure) -> FederationSigner {
        guard let name = KeyName(held.key.publicKey.fingerprint) else { throw .state("a federation key has no name") }
        return FederationSigner(publicKey: held.key.publicKey.spki, keyName: name) { bytes in
            guard bytes.starts(with: SignatureContext.record.bytes) else { return nil }
            return try? held.key.sign(bytes)
        }
    }
}
