internal import Containers
internal import Wire

/// Messages come out the same however the stream is cut, and written again give the same bytes.
package func fuzzGRPC(_ bytes: Span<UInt8>) {
    var again = ByteBuffer()
    var firstFault: GRPCFault??
    for pieces in [max(1, bytes.count), 1] {
        var decoder = GRPCFrameDecoder(limit: 4_096)
        again.removeAll()
        var fault: GRPCFault?
        var start = 0
        while start < bytes.count, fault == nil {
            let end = min(bytes.count, start + pieces)
            decoder.append(bytes.extracting(start..<end))
            start = end
            do throws(GRPCFault) {
                while try decoder.next() { GRPCFrame.append(decoder.message, to: &again) }
            } catch { fault = error }
        }
        precondition(bytes.extracting(first: again.count).equals(again.bytes))
        if let firstFault { precondition(firstFault == fault) }
        firstFault = .some(fault)
    }
    var encoded = ByteBuffer()
    GRPCStatus.appendMessage(bytes, to: &encoded)
    var decoded = ByteBuffer()
    GRPCStatus.appendDecoded(encoded.bytes, to: &decoded)
    precondition(decoded.bytes.equals(bytes))
    decoded.removeAll()
    GRPCStatus.appendDecoded(bytes, to: &decoded)
    if let amount = GRPCTimeout.nanoseconds(bytes) { precondition(amount >= 0) }
    _ = GRPCStatus(bytes)
}

/// What parses lies inside its bytes, and no shorter prefix of it parses.
package func fuzzProxyHeader(_ bytes: Span<UInt8>) {
    do throws(ProxyFault) {
        guard let header = try ProxyHeader.parse(bytes) else { return }
        precondition(header.count <= bytes.count && header.count <= ProxyHeader.limit)
        for field in [ProxyHeader.Field.authority, .assertion, .hops, .answer, .traceparent, .deadline, .probe] {
            if let value = header.value(field, in: bytes) { precondition(value.upperBound <= header.count) }
        }
        let shorter = try ProxyHeader.parse(bytes.extracting(first: header.count - 1))
        precondition(shorter == nil)
    } catch {}
}

/// What parses is ASCII of the grammar, and its folded form parses to itself.
package func fuzzHost(_ bytes: Span<UInt8>) {
    _ = HeaderName(bytes)
    _ = bytes.nameWithUnderscoresMapped
    guard let authority = HostAuthority(bytes) else { return }
    precondition(authority.host.upperBound <= bytes.count && !authority.host.isEmpty)
    var folded = ByteBuffer()
    if authority.kind == .ipv6 { folded.append(UInt8(ascii: "[")) }
    authority.appendHost(of: bytes, to: &folded)
    if authority.kind == .ipv6 { folded.append(UInt8(ascii: "]")) }
    let again = HostAuthority(folded.bytes)
    precondition(again?.kind == authority.kind && again?.port == nil && again?.host.count == authority.host.count)
}
