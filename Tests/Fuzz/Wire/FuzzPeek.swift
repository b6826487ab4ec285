internal import Wire

/// The first bytes are judged the same whatever follows, and a ClientHello read whole is not read from a part of it.
package func fuzzClientHello(_ bytes: Span<UInt8>) {
    let answer = ClientHello.read(bytes)
    if case .hello(let hello) = answer {
        precondition(hello.serverName.count <= bytes.count)
        for cut in [1, 5, bytes.count - 1] where cut > 0 && cut < bytes.count {
            if case .hello(let part) = ClientHello.read(bytes.extracting(0..<cut)) { precondition(part == hello) }
        }
    }
    let first = FirstBytes.judge(bytes)
    if case .tls = first { precondition(bytes[0] == ClientHello.firstByte) }
    // What is decided stays decided when more comes.
    for cut in [1, 4, 24] where cut < bytes.count {
        let early = FirstBytes.judge(bytes.extracting(0..<cut))
        if early == .http1 || early == .http2 || early == .other { precondition(early == first) }
    }
}

/// A query is refused or read; every answer to it is a message whose records have true lengths and which answers it.
package func fuzzDNS(_ bytes: Span<UInt8>) {
    _ = DNSWalk.addresses(bytes, question: 0)
    let query: DNSQuery
    do throws(DNSFault) {
        query = try DNSQuery(bytes)
    } catch {
        if case .code(let code, let id) = error { precondition(DNSAnswer.refusal(code, id: id).count == 12) }
        return
    }
    precondition(query.name.count <= 255 && query.udpSize >= 512 && query.question.count <= 259)
    let records: [DNSAnswer.Record] = [
        .address([240, 240, 0, 1]), .service(port: 80, target: query.name),
        .address([0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ]
    for answer in [
        DNSAnswer(records: records), DNSAnswer(code: DNSCode.nameError, zone: Array("clusterset.local".utf8)),
    ] {
        for isUDP in [true, false] {
            let message = answer.message(for: query, isUDP: isUDP)
            precondition(query.isAnswered(by: message.span, id: query.id))
            precondition(!query.isAnswered(by: message.span, id: query.id ^ 1))
            precondition(!isUDP || message.count <= max(512, query.udpSize))
            let found = DNSWalk.addresses(message.span, question: query.question.count)
            let isWhole = message[2] & 0x02 == 0 && !answer.records.isEmpty
            precondition(found?.count == (isWhole ? 2 : 0))
        }
    }
}
