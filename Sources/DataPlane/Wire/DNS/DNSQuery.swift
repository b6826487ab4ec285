/// Numbers of RFC 1035 and its successors that are used here.
package enum DNSCode {
    package static let a: UInt16 = 1
    package static let soa: UInt16 = 6
    package static let aaaa: UInt16 = 28
    package static let srv: UInt16 = 33
    package static let opt: UInt16 = 41
    package static let any: UInt16 = 255
    package static let internet: UInt16 = 1

    package static let noError: UInt8 = 0
    package static let formatError: UInt8 = 1
    package static let serverFailure: UInt8 = 2
    package static let nameError: UInt8 = 3
    package static let notImplemented: UInt8 = 4
    package static let refused: UInt8 = 5
}

/// A message that is no query, or a broken one.
package enum DNSFault: Error, Hashable, Sendable {
    /// Too short to have an identifier, or an answer: nothing is said.
    case silence
    /// Answered with this code and no question.
    case code(UInt8, id: UInt16)
}

/// One question as a stub resolver asks it (RFC 1035 section 4), with what EDNS says beside it (RFC 6891).
package struct DNSQuery: Hashable, Sendable {
    package let id: UInt16
    package let recursionDesired: Bool
    /// Lower case, labels with dots, no dot at the end; the root is empty.
    package let name: [UInt8]
    package let type: UInt16
    package let questionClass: UInt16
    /// The question as it was written, in its own upper and lower case.
    package let question: [UInt8]
    /// What the asker takes by UDP; 512 without EDNS.
    package let udpSize: Int
    package let hasEDNS: Bool

    package static let headerSize = 12
    /// RFC 1035 section 2.3.4.
    private static let longestName = 255
    /// What we say that we take, and never answer above: larger datagrams are fragmented (DNS flag day 2020).
    package static let ownUDPSize = 1_232

    /// Reads a query; a second question, another operation, a pointer in the question are refused.
    package init(_ bytes: Span<UInt8>) throws(DNSFault) {
        guard bytes.count >= Self.headerSize else { throw .silence }
        let id = DNSWalk.short(bytes, 0)
        guard bytes[2] & 0x80 == 0 else { throw .silence }
        guard bytes[2] >> 3 & 0xF == 0 else { throw .code(DNSCode.notImplemented, id: id) }
        let broken = DNSFault.code(DNSCode.formatError, id: id)
        guard DNSWalk.short(bytes, 4) == 1, DNSWalk.short(bytes, 6) == 0, DNSWalk.short(bytes, 8) == 0 else {
            throw broken
        }
        var name: [UInt8] = []
        var at = Self.headerSize
        while true {
            guard at < bytes.count else { throw broken }
            let length = Int(bytes[at])
            at += 1
            if length == 0 { break }
            guard length <= 63, at + length <= bytes.count, at + length - Self.headerSize < Self.longestName else {
                throw broken
            }
            if !name.isEmpty { name.append(0x2E) }
            for index in at..<(at + length) {
                let byte = bytes[index]
                // A dot inside a label would make two names look alike.
                guard byte != 0x2E else { throw broken }
                name.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
            }
            at += length
        }
        guard at + 4 <= bytes.count else { throw broken }
        self.id = id
        recursionDesired = bytes[2] & 1 == 1
        self.name = name
        type = DNSWalk.short(bytes, at)
        questionClass = DNSWalk.short(bytes, at + 2)
        at += 4
        question = DNSWalk.copy(bytes, Self.headerSize..<at)
        var size = 512
        var edns = false
        for _ in 0..<Int(DNSWalk.short(bytes, 10)) {
            guard let record = DNSWalk.record(bytes, at) else { throw broken }
            if record.type == DNSCode.opt {
                guard !edns else { throw broken }
                edns = true
                size = max(512, Int(record.recordClass))
            }
            at = record.end
        }
        hasEDNS = edns
        udpSize = min(size, 4_096)
    }

    /// True for the answer to this question under `id` (RFC 5452 section 9.1).
    package func isAnswered(by bytes: Span<UInt8>, id: UInt16) -> Bool {
        guard bytes.count >= Self.headerSize + question.count, DNSWalk.short(bytes, 0) == id, bytes[2] & 0x80 != 0,
            bytes[2] >> 3 & 0xF == 0, DNSWalk.short(bytes, 4) == 1
        else { return false }
        for index in 0..<question.count where bytes[Self.headerSize + index] != question[index] { return false }
        return true
    }
}

/// Steps through a message whose lengths nobody vouches for.
package enum DNSWalk {
    package struct Record {
        package let type: UInt16
        package let recordClass: UInt16
        package let data: Range<Int>
        package let end: Int
    }

    static func short(_ bytes: Span<UInt8>, _ at: Int) -> UInt16 { UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1]) }

    static func copy(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(range.count)
        for index in range { copy.append(bytes[index]) }
        return copy
    }

    /// The place behind a name, whose pointer (RFC 1035 section 4.1.4) ends it and is not followed.
    static func skipName(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
        var at = start
        while at < bytes.count {
            let length = Int(bytes[at])
            if length == 0 { return at + 1 }
            if length & 0xC0 == 0xC0 { return at + 2 <= bytes.count ? at + 2 : nil }
            guard length <= 63 else { return nil }
            at += 1 + length
        }
        return nil
    }

    static func record(_ bytes: Span<UInt8>, _ start: Int) -> Record? {
        guard let at = skipName(bytes, start), at + 10 <= bytes.count else { return nil }
        let length = Int(short(bytes, at + 8))
        guard at + 10 + length <= bytes.count else { return nil }
        return Record(
            type: short(bytes, at), recordClass: short(bytes, at + 2), data: (at + 10)..<(at + 10 + length),
            end: at + 10 + length)
    }

    /// The addresses among the answers of a response (four or sixteen bytes each); nil for a message whose records break
    /// their lengths. A truncated one may end early.
    package static func addresses(_ bytes: Span<UInt8>, question: Int) -> [[UInt8]]? {
        guard bytes.count >= DNSQuery.headerSize + question else { return nil }
        let isTruncated = bytes[2] & 0x02 != 0
        var found: [[UInt8]] = []
        var at = DNSQuery.headerSize + question
        for _ in 0..<Int(short(bytes, 6)) {
            guard let record = record(bytes, at) else { return isTruncated ? found : nil }
            if record.type == DNSCode.a, record.data.count == 4 { found.append(copy(bytes, record.data)) }
            if record.type == DNSCode.aaaa, record.data.count == 16 { found.append(copy(bytes, record.data)) }
            at = record.end
        }
        return found
    }
}
