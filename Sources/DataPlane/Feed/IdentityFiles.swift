internal import Identity

/// Key, SVID and enrolment record in a state directory, in an order of writing that survives a crash at any point.
///
/// A renewal: `key.next.pem` is stored, then the request is sent; the answer is stored as `svid.next.pem`; both are renamed,
/// the key first. Whoever finds `svid.next.pem` at the start finishes that.
struct IdentityFiles {
    private static let key = "key.pem"
    private static let svid = "svid.pem"
    private static let nextKey = "key.next.pem"
    private static let nextSVID = "svid.next.pem"
    private static let enrolment = "enrolment.json"
    /// Leaf, intermediate and root are some 3 KiB.
    private static let pemLimit = 65_536

    private let directory: ProxyStateDirectory

    init(_ directory: ProxyStateDirectory) { self.directory = directory }

    var path: String { directory.path }

    func record() throws(FeedError) -> EnrolmentRecord? {
        guard let bytes = try directory.read(Self.enrolment, limit: EnrolmentRecord.maximumLength) else { return nil }
        guard let record = EnrolmentRecord(bytes) else {
            throw FeedError(
                .state, "\(path)/\(Self.enrolment) is damaged", "empty the state directory and enrol with a new token")
        }
        return record
    }

    func write(_ record: EnrolmentRecord) throws(FeedError) { try directory.write(Self.enrolment, record.encode()) }

    /// The stored SVID, valid or not; nil when there is none.
    func svid() throws(FeedError) -> SVID? {
        if try directory.read(Self.nextSVID, limit: Self.pemLimit) != nil {
            if (try? load(Self.nextSVID, Self.nextKey)) != nil {
                try directory.rename(Self.nextKey, to: Self.key)
                try directory.rename(Self.nextSVID, to: Self.svid)
            } else if (try? load(Self.nextSVID, Self.key)) != nil {
                try directory.rename(Self.nextSVID, to: Self.svid)
            } else {
                try directory.remove(Self.nextSVID)
            }
        }
        guard try directory.read(Self.svid, limit: Self.pemLimit) != nil else { return nil }
        return try load(Self.svid, Self.key)
    }

    /// The pair as it lies there; nothing is finished or removed, for the directory is another process's.
    func stored() throws(FeedError) -> SVID? {
        guard try directory.read(Self.svid, limit: Self.pemLimit) != nil else { return nil }
        return try load(Self.svid, Self.key)
    }

    private func load(_ chain: String, _ key: String) throws(FeedError) -> SVID {
        guard let chainPEM = try directory.read(chain, limit: Self.pemLimit),
            let keyPEM = try directory.read(key, limit: Self.pemLimit)
        else { throw FeedError(.state, "\(path) lacks \(key)", "restore it, or enrol anew in an empty directory") }
        do throws(IdentityError) { return try SVID.load(pemChain: chainPEM, keyPEM: keyPEM) } catch {
            throw FeedError(
                .state, "\(path)/\(chain) with \(key): \(error)", "restore both, or enrol anew in an empty directory")
        }
    }

    // MARK: The first one

    /// A request with the stored key, made where there is none.
    func firstKeyRequest() throws(FeedError) -> [UInt8] { try request(Self.key) }
    func firstSVID(_ chain: [[UInt8]]) throws(FeedError) -> SVID { try make(chain, Self.key) }
    func confirmFirst(_ svid: SVID) throws(FeedError) { try directory.write(Self.svid, svid.pemChain) }

    // MARK: The next one

    func nextKeyRequest() throws(FeedError) -> [UInt8] { try request(Self.nextKey) }
    func nextSVID(_ chain: [[UInt8]]) throws(FeedError) -> SVID { try make(chain, Self.nextKey) }

    func confirmNext(_ svid: SVID) throws(FeedError) {
        try directory.write(Self.nextSVID, svid.pemChain)
        try directory.rename(Self.nextKey, to: Self.key)
        try directory.rename(Self.nextSVID, to: Self.svid)
    }

    private func request(_ name: String) throws(FeedError) -> [UInt8] {
        do {
            if let pem = try directory.read(name, limit: Self.pemLimit) {
                return try CertificateRequest.make(key: try PrivateKey(pem: pem))
            }
            let key = try PrivateKey.generate()
            try directory.write(name, try key.pem())
            return try CertificateRequest.make(key: key)
        } catch let error as FeedError {
            throw error
        } catch {
            throw FeedError(.state, "\(path)/\(name): \(error)")
        }
    }

    private func make(_ chain: [[UInt8]], _ name: String) throws(FeedError) -> SVID {
        guard let pem = try directory.read(name, limit: Self.pemLimit) else {
            throw FeedError(.state, "\(path)/\(name) is gone")
        }
        do throws(IdentityError) { return try SVID(chainDER: chain, key: try PrivateKey(pem: pem)) } catch {
            throw FeedError(.answer, "the broker's certificate cannot be used: \(error)")
        }
    }
}
