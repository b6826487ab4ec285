import ControlCoding
import MeshModel
import Testing

/// Services are taken out of a snapshot's bytes before the parser sees the rest.
@Suite struct SnapshotPartsTests {
    private func bytes() throws -> (snapshot: Snapshot, bytes: [UInt8]) {
        var samples = Samples(seed: 5)
        let snapshot = samples.snapshot()
        return (snapshot, try SnapshotCoding.encode(snapshot))
    }

    @Test func whatANewerReleaseAddsIsPassedOver() throws {
        let (snapshot, bytes) = try bytes()
        // Field 100: a varint, eight bytes, a text, four bytes, and a group, which leaves all to the parser.
        let additions: [[UInt8]] = [
            [0xA0, 0x06, 0x96, 0x01], [0xA1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8], [0xA2, 0x06, 2, 0x61, 0x62],
            [0xA5, 0x06, 1, 2, 3, 4], [0xA3, 0x06, 0x08, 0x01, 0xA4, 0x06],
        ]
        for addition in additions {
            #expect(try SnapshotCoding.decode(addition + bytes) == snapshot)
            #expect(try SnapshotCoding.decode(bytes + addition) == snapshot)
        }
    }

    @Test func cutAndOverlongFieldsAreMalformed() throws {
        let (snapshot, bytes) = try bytes()
        let ends: [[UInt8]] = [
            [0x42, 0x7F], [0x42, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0x42], [0x80],
            [0xA1, 0x06, 1], [0x00, 0x00],
        ]
        for end in ends {
            #expect(throws: CodingError.self) { try SnapshotCoding.decode(bytes + end) }
        }
        #expect(throws: CodingError("services[\(snapshot.services.count)]", .malformed)) {
            try SnapshotCoding.decode(bytes + [0x42, 0x02, 0x08, 0x80])
        }
    }
}
