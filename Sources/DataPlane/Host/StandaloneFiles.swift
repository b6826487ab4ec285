internal import ControlCoding
internal import Identity
internal import MeshModel
internal import Settings

/// The files of a proxy that runs without a broker.
enum StandaloneFiles {
    /// A chain of three certificates in PEM is below 16 KiB.
    private static let pemLimit = 1_048_576

    static func load(
        snapshot path: String, certificate: String, key: String
    ) throws(HostFailure) -> (snapshot: Snapshot, svid: SVID) {
        let bytes = try InputFile.read(path, flag: "snapshot", limit: CodingLimits.snapshotFileBytes)
        let snapshot: Snapshot
        do throws(CodingError) {
            snapshot = try SnapshotFile.decode(bytes, sha256: SHA256.hash)
        } catch {
            throw HostFailure("--snapshot \(path): \(error); make one with 'meshfed snapshot build'", status: 65)
        }
        let chain = try InputFile.read(certificate, flag: "svid", limit: pemLimit)
        let secret = try InputFile.read(key, flag: "key", limit: pemLimit, secret: true)
        do throws(IdentityError) {
            return (snapshot, try SVID.load(pemChain: chain, keyPEM: secret))
        } catch {
            throw HostFailure("--svid \(certificate), --key \(key): \(error)", status: 65)
        }
    }

    static func bundles(_ files: [BundleFile]) throws(HostFailure) -> [TrustBundle] {
        var bundles: [TrustBundle] = []
        for file in files {
            let pem = try InputFile.read(file.path, flag: "bundle", limit: pemLimit)
            do throws(IdentityError) {
                let bundle = TrustBundle(trustDomain: file.trustDomain, roots: try PEM.certificates(pem))
                _ = try TrustStore([bundle], generation: 0)
                bundles.append(bundle)
            } catch {
                throw HostFailure("--bundle \(file.trustDomain)=\(file.path): \(error)", status: 65)
            }
        }
        return bundles
    }
}
