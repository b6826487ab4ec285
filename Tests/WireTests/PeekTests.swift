import Testing
import Wire

@Suite struct PeekTests {
    /// A ClientHello with this server name and these protocols, as an ordinary client writes it.
    private func hello(_ name: String?, _ protocols: [String]) -> [UInt8] {
        func framed(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
            (0..<width).map { UInt8(truncatingIfNeeded: bytes.count >> (8 * (width - 1 - $0))) } + bytes
        }
        var extensions: [UInt8] = []
        if let name { extensions += [0, 0] + framed(framed([0] + framed(Array(name.utf8), 2), 2), 2) }
        let list = protocols.flatMap { framed(Array($0.utf8), 1) }
        if !list.isEmpty { extensions += [0, 16] + framed(framed(list, 2), 2) }
        let body =
            [3, 3] + [UInt8](repeating: 7, count: 32) + [0] + framed([0x13, 1], 2) + [1, 0] + framed(extensions, 2)
        return [0x16, 3, 1] + framed([1] + framed(body, 3), 2)
    }

    @Test func aClientHelloSaysItsNameAndProtocols() {
        let bytes = hello("80.a.b.svc.clusterset.local", ["h2", "http/1.1"])
        guard case .hello(let read) = ClientHello.read(bytes.span) else {
            Issue.record("not read")
            return
        }
        #expect(read.serverName == Array("80.a.b.svc.clusterset.local".utf8))
        #expect(read.protocols == [Array("h2".utf8), Array("http/1.1".utf8)])
        for count in 0..<bytes.count {
            let part = ClientHello.read(bytes.span.extracting(0..<count))
            #expect(part == .needsMore)
        }
    }

    @Test func everyLyingLengthIsRefused() {
        let bytes = hello("a.b", ["h2"])
        for index in 5..<bytes.count {
            var changed = bytes
            changed[index] = 0xFF
            // Whatever it says, it is read inside its record or refused.
            switch ClientHello.read(changed.span) {
            case .hello(let read): #expect(read.serverName.count < bytes.count)
            case .other: break
            case .needsMore: Issue.record("byte \(index)")
            }
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1", FirstBytes.http1), ("M-SEARCH * HTTP/1.1", .http1), ("OPTIONS http://a/ HTTP/1.1", .http1),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .http2), ("PRI * HT", .needsMore), ("PRI * HTTP/1.1", .other),
        ("GE", .needsMore),
        ("SSH-2.0-x", .other), ("*1\r\n$4\r\nPING", .other), ("GET  ", .other), ("", .needsMore),
    ]) func firstBytesAreToldApart(text: String, expected: FirstBytes) {
        let judged = FirstBytes.judge(Array(text.utf8).span)
        #expect(judged == expected)
    }
}

@Suite struct DNSTests {
    private func question(_ name: String, _ type: UInt16 = 1, udpSize: UInt16? = nil) -> [UInt8] {
        var bytes: [UInt8] = [0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, udpSize == nil ? 0 : 1]
        for label in name.split(separator: ".") { bytes += [UInt8(label.utf8.count)] + Array(label.utf8) }
        bytes += [0, UInt8(type >> 8), UInt8(type & 0xFF), 0, 1]
        if let udpSize { bytes += [0, 0, 41, UInt8(udpSize >> 8), UInt8(udpSize & 0xFF), 0, 0, 0, 0, 0, 0] }
        return bytes
    }

    private func read(_ bytes: [UInt8]) throws -> DNSQuery { try DNSQuery(bytes.span) }

    @Test func aQuestionKeepsItsOwnSpelling() throws {
        let query = try DNSQuery(question("ReViews.Shop", 28, udpSize: 1232).span)
        #expect(query.id == 0xABCD && query.type == DNSCode.aaaa && query.hasEDNS && query.udpSize == 1232)
        #expect(query.name == Array("reviews.shop".utf8))
        #expect(query.question.contains(UInt8(ascii: "V")))
    }

    @Test func whatIsNoQuestionIsRefused() {
        #expect(throws: DNSFault.silence) { try read([1, 2, 3]) }
        var answer = question("a.b")
        answer[2] |= 0x80
        #expect(throws: DNSFault.silence) { try read(answer) }
        var update = question("a.b")
        update[2] = 5 << 3
        #expect(throws: DNSFault.code(DNSCode.notImplemented, id: 0xABCD)) { try read(update) }
        var two = question("a.b")
        two[5] = 2
        #expect(throws: DNSFault.code(DNSCode.formatError, id: 0xABCD)) { try read(two) }
        let pointer = Array(question("a")[..<12]) + [0xC0, 0x0C, 0, 1, 0, 1]
        #expect(throws: DNSFault.code(DNSCode.formatError, id: 0xABCD)) { try read(pointer) }
        let long = question(Array(repeating: String(repeating: "a", count: 63), count: 4).joined(separator: "."))
        #expect(throws: DNSFault.code(DNSCode.formatError, id: 0xABCD)) { try read(long) }
        for count in 12..<(question("a.b", udpSize: 512).count) {
            let cut = Array(question("a.b", udpSize: 512)[..<count])
            #expect(throws: DNSFault.self) { try read(cut) }
        }
    }

    @Test func whatDoesNotFitIsCutAndSaysSo() throws {
        let query = try DNSQuery(question("a.b").span)
        let many = DNSAnswer(records: (0..<100).map { .address([10, 0, 0, UInt8($0)]) })
        let cut = many.message(for: query, isUDP: true)
        #expect(cut.count <= 512 && cut[2] & 2 == 2 && cut[7] == 0)
        let whole = many.message(for: query, isUDP: false)
        #expect(whole[2] & 2 == 0)
        let found = DNSWalk.addresses(whole.span, question: query.question.count)
        #expect(found?.count == 100)
    }

    @Test func onlyItsOwnAnswerIsAnAnswer() throws {
        let query = try DNSQuery(question("a.b").span)
        let message = DNSAnswer(records: [.address([1, 2, 3, 4])]).message(for: query, isUDP: true)
        let (own, guessed) = (
            query.isAnswered(by: message.span, id: 0xABCD), query.isAnswered(by: message.span, id: 0xABCE)
        )
        #expect(own && !guessed)
        let other = try DNSQuery(question("A.b").span)
        let isOthers = other.isAnswered(by: message.span, id: 0xABCD)
        #expect(!isOthers)
        var asked = message
        asked[2] &= 0x7F
        let isQuestion = query.isAnswered(by: asked.span, id: 0xABCD)
        #expect(!isQuestion)
    }
}
