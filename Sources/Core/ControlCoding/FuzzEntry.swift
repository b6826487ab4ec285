internal import MeshModel

/// One entry for libFuzzer and for the unit tests that replay its corpora: any bytes, through every parser of this module.
package enum FuzzEntry {
    /// Parsers that a first byte selects.
    package static let parserCount: UInt8 = 10

    /// Must return for every input: whatever is wrong is thrown inside and dropped here.
    package static func judge(_ bytes: [UInt8]) {
        guard let selector = bytes.first else { return }
        judge(Array(bytes.dropFirst()), parser: selector % parserCount)
    }

    /// As `judge`, with the parser chosen by number. Returns true when the bytes were accepted.
    @discardableResult
    package static func judge(_ bytes: [UInt8], parser: UInt8) -> Bool {
        do {
            switch parser {
            case 0: _ = try SnapshotCoding.decode(bytes)
            case 1: _ = try SubscriberFrame.decode(bytes)
            case 2: _ = try BrokerFrame.decode(bytes)
            case 3: _ = try SignedRecord.decode(bytes)
            case 4: _ = try MembershipStatement.decode(bytes)
            case 5: _ = try BundleStatement.decode(bytes)
            case 6: _ = try SyncFrame.decode(bytes, from: Self.peer)
            case 7: _ = try JoinRequest.decode(bytes)
            case 8: _ = try EnrolmentAnswer.decode(bytes)
            // No digest to satisfy: the fuzzer reaches the content behind it.
            default: _ = try SnapshotFile.decode(bytes) { _ in [] }
            }
            return true
        } catch {
            return false
        }
    }

    private static let peer: ClusterID = {
        guard let cluster = ClusterID("peer") else { preconditionFailure("literal label") }
        return cluster
    }()
}
