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

    /// Without a broker nothing else will come: an SVID that no peer of the own domain could believe is refused at once.
    static func judge(
        _ svid: SVID, certificate: String, bundles: [TrustBundle], now: WallTime
    ) throws(HostFailure) {
        let domain = svid.id.trustDomain
        guard bundles.contains(where: { $0.trustDomain == domain && !$0.roots.isEmpty }) else {
            throw HostFailure(
                "--svid \(certificate): the roots of \(domain) are not given; add --bundle \(domain)=PEM", status: 65)
        }
        let trust: TrustStore
        do throws(IdentityError) { trust = try TrustStore(bundles, generation: 0) } catch {
            throw HostFailure("the bundles cannot be used: \(error)", status: 65)
        }
        do throws(PeerRefusal) { _ = try trust.verify(chain: svid.chainDER, purpose: .client, now: now) } catch {
            throw HostFailure(
                "--svid \(certificate): the roots of \(domain) do not hold for it: \(error); give the root that signed "
                    + "it by --bundle \(domain)=PEM", status: 65)
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
