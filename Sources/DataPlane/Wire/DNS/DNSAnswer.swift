/// What is said to one query.
package struct DNSAnswer: Hashable, Sendable {
    package enum Record: Hashable, Sendable {
        /// Four or sixteen bytes.
        case address([UInt8])
        /// RFC 2782; the target as labels with dots.
        case service(port: UInt16, target: [UInt8])
    }

    package var code: UInt8
    package var records: [Record]
    /// The zone whose SOA lets a negative answer be cached (RFC 2308); empty: none.
    package var zone: [UInt8]
    /// Seconds.
    package var timeToLive: UInt32

    package init(code: UInt8 = DNSCode.noError, records: [Record] = [], zone: [UInt8] = [], timeToLive: UInt32 = 5) {
        self.code = code
        self.records = records
        self.zone = zone
        self.timeToLive = timeToLive
    }

    /// The message. By UDP what does not fit is left out and the flag for it set, so that the asker comes again by TCP.
    package func message(for query: DNSQuery, isUDP: Bool) -> [UInt8] {
        let whole = message(for: query, isTruncated: false)
        let limit = isUDP ? min(query.udpSize, max(512, DNSQuery.ownUDPSize)) : 65_535
        return whole.count <= limit ? whole : message(for: query, isTruncated: true)
    }

    private func message(for query: DNSQuery, isTruncated: Bool) -> [UInt8] {
        let kept = isTruncated ? [] : records
        var authority = 0
        if kept.isEmpty, !zone.isEmpty, !isTruncated { authority = 1 }
        var bytes = Self.header(
            query.id, code: code, recursionDesired: query.recursionDesired, isTruncated: isTruncated, questions: 1,
            answers: kept.count, authority: authority, additional: query.hasEDNS ? 1 : 0)
        bytes += query.question
        for record in kept {
            // The question's name stands at offset 12.
            bytes += [0xC0, 0x0C]
            switch record {
            case .address(let address):
                Self.append(&bytes, address.count == 4 ? DNSCode.a : DNSCode.aaaa, timeToLive, address)
            case .service(let port, let target):
                Self.append(
                    &bytes, DNSCode.srv, timeToLive,
                    [0, 0, 0, 100, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)] + Self.labels(target))
            }
        }
        if authority == 1 {
            bytes += Self.labels(zone)
            let numbers: [UInt32] = [1, 5, 5, 5, timeToLive]
            Self.append(
                &bytes, DNSCode.soa, timeToLive,
                Self.labels(Array("ns.".utf8) + zone) + Self.labels(Array("hostmaster.".utf8) + zone)
                    + numbers.flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } })
        }
        if query.hasEDNS {
            bytes += [0, 0, UInt8(DNSCode.opt), UInt8(DNSQuery.ownUDPSize >> 8), UInt8(DNSQuery.ownUDPSize & 0xFF)]
            bytes += [0, 0, 0, 0, 0, 0]
        }
        return bytes
    }

    /// A code alone, for what could not be read.
    package static func refusal(_ code: UInt8, id: UInt16) -> [UInt8] {
        header(
            id, code: code, recursionDesired: false, isTruncated: false, questions: 0, answers: 0, authority: 0,
            additional: 0)
    }

    private static func header(
        _ id: UInt16, code: UInt8, recursionDesired: Bool, isTruncated: Bool, questions: Int, answers: Int,
        authority: Int, additional: Int
    ) -> [UInt8] {
        // QR, and AA where it is our own word; RA: we forward the rest.
        let high: UInt8 = 0x84 | (isTruncated ? 0x02 : 0) | (recursionDesired ? 0x01 : 0)
        var bytes = [UInt8(id >> 8), UInt8(truncatingIfNeeded: id), high, 0x80 | code & 0xF]
        for count in [questions, answers, authority, additional] {
            bytes += [UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
        }
        return bytes
    }

    private static func append(_ bytes: inout [UInt8], _ type: UInt16, _ timeToLive: UInt32, _ data: [UInt8]) {
        bytes += [UInt8(type >> 8), UInt8(truncatingIfNeeded: type), 0, 1]
        bytes += (0..<4).map { UInt8(truncatingIfNeeded: timeToLive >> (24 - 8 * $0)) }
        bytes += [UInt8(truncatingIfNeeded: data.count >> 8), UInt8(truncatingIfNeeded: data.count)] + data
    }

    /// A name as labels, without compression. Names are ours: short, no empty label.
    private static func labels(_ name: [UInt8]) -> [UInt8] {
        name.split(separator: 0x2E).flatMap { [UInt8(truncatingIfNeeded: $0.count)] + $0 } + [0]
    }
}
