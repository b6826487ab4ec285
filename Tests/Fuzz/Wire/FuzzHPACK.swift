internal import Containers
internal import Wire

/// A connection's header blocks: the first byte says the table's capacity and how long each block is.
///
/// What was read is written by our encoder and read again as the same; a second connection with small limits reads no more.
func fuzzHPACK(_ bytes: Span<UInt8>) {
    guard let first = bytes.isEmpty ? nil : bytes[0] else { return }
    let capacity = [0, 256, 4_096, 65_536][Int(first & 3)]
    let length = 8 + Int(first >> 2) * 4
    var decoder = HPACKDecoder(capacity: capacity)
    var tight = HPACKDecoder(capacity: capacity)
    var encoder = HPACKEncoder(capacity: capacity)
    encoder.limit(capacity)
    var reader = HPACKDecoder(capacity: capacity)
    var start = 1
    while start < bytes.count {
        let end = min(bytes.count, start + length)
        let piece = bytes.extracting(start..<end)
        start = end
        var block = HeaderBlock()
        var few = HeaderBlock()
        do {
            _ = try decoder.decode(piece, into: &block, countLimit: 1_000, byteLimit: 1_000_000)
        } catch { return }
        do {
            _ = try tight.decode(piece, into: &few, countLimit: 2, byteLimit: 100)
        } catch { preconditionFailure("limits decide what is valid") }
        precondition(few.count <= 2 && few.byteCount <= 100)
        var wire = ByteBuffer()
        encoder.encode(block, into: &wire)
        var again = HeaderBlock()
        do {
            let outcome = try reader.decode(wire.bytes, into: &again, countLimit: 1_000, byteLimit: 1_000_000)
            precondition(!outcome.isMalformed && !outcome.isOversized, "what we wrote is malformed")
        } catch { preconditionFailure("what we wrote is refused") }
        precondition(sent(block) == lines(again), "another block")
    }
}

/// What HTTP/2 lets out, in the order in which it goes.
private func sent(_ block: borrowing HeaderBlock) -> [[UInt8]] {
    var pseudo: [[UInt8]] = []
    var others: [[UInt8]] = []
    for index in 0..<block.count {
        let name = block.name(at: index)
        if name.isPseudo {
            pseudo.append(line(block, index))
        } else if name == .te
            ? block.value(at: index).equalsIgnoringCase("trailers") : name != .host && !name.isHopByHop
        {
            others.append(line(block, index))
        }
    }
    return pseudo + others
}

private func lines(_ block: borrowing HeaderBlock) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    for index in 0..<block.count { lines.append(line(block, index)) }
    return lines
}

private func line(_ block: borrowing HeaderBlock, _ index: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    let name = block.nameBytes(at: index)
    for place in 0..<name.count { bytes.append(name[place]) }
    bytes.append(0)
    let value = block.value(at: index)
    for place in 0..<value.count { bytes.append(value[place]) }
    return bytes
}
