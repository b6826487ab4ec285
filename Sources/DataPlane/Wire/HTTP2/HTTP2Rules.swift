internal import Containers

/// The rules for heads of HTTP/2 (RFC 9113 8; HOSTILE M7, 68, 70, 71 and 75). Bytes of names and values are judged as they are decoded.
enum HTTP2Rules {
    enum Verdict {
        case accept
        /// The peer may ask so, but gets this status.
        case answer(Int)
        /// The stream is reset.
        case malformed
    }

    enum Section { case request, response, trailers }

    /// Pseudo fields in front, each once and of this section; no field of one connection (RFC 9113 8.2.2, 8.3).
    static func isWellFormed(_ block: borrowing HeaderBlock, _ section: Section, allowsProtocol: Bool) -> Bool {
        var allowed: UInt8 =
            switch section {
            case .request:
                bit(.method) | bit(.path) | bit(.scheme) | bit(.authority) | (allowsProtocol ? bit(.protocol) : 0)
            case .response: bit(.status)
            case .trailers: 0
            }
        for index in 0..<block.count {
            let name = block.name(at: index)
            if name.isOfNoFraming || name == .other {
                allowed = 0
                continue
            }
            switch name {
            case .method, .path, .scheme, .authority, .status, .protocol:
                guard allowed & bit(name) != 0 else { return false }
                allowed &= ~bit(name)
                continue
            case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade:
                return false
            case .te:
                guard block.value(at: index).equalsIgnoringCase("trailers") else { return false }
            default:
                break
            }
            allowed = 0
        }
        return true
    }

    private static func bit(_ name: HeaderName) -> UInt8 { 1 << name.rawValue }

    /// What `content-length` says; -1 when it is not there, nil when it says nonsense or is there twice (RFC 9113 8.1.1).
    static func contentLength(_ block: borrowing HeaderBlock) -> Int? {
        guard let index = block.first(.contentLength) else { return -1 }
        guard block.next(.contentLength, from: index + 1) == nil else { return nil }
        return block.value(at: index).decimal
    }

    /// How long the body of a final response is: -1 when that is not said, nil when what is said cannot be.
    static func bodyLength(_ block: inout HeaderBlock, asksNoBody: Bool) -> Int? {
        guard let length = contentLength(block) else { return nil }
        if block.says(.status, "204") {
            guard length <= 0 else { return nil }
            // Not to be sent (RFC 9110 8.6), but some do.
            block.remove(.contentLength)
            return 0
        }
        if block.says(.status, "101") { return -1 }
        return asksNoBody || block.says(.status, "304") ? 0 : length
    }

    /// Judges a request and drops `host`, which `:authority` replaces. `known` is an authority that was judged before.
    static func judgeRequest(
        _ block: inout HeaderBlock, _ limits: HTTPLimits, _ known: inout ByteBuffer
    ) -> Verdict {
        guard let method = block.first(.method), block.value(at: method).isToken else { return .malformed }
        if block.value(at: method).count > limits.method { return .answer(501) }
        if let name = block.first(.protocol) {
            guard block.value(at: method).equals("CONNECT"), block.value(at: name).isToken else { return .malformed }
            if !limits.allowsUpgrade { return .answer(405) }
            // One word for both versions: what HTTP/1.1 says in a GET.
            block.replace(.method, "GET")
            block.remove(.contentLength)
        } else if block.value(at: method).equals("CONNECT") {
            return .answer(405)
        }
        guard let scheme = block.first(.scheme) else { return .malformed }
        // Case counts: one spelling for every reader (CVE-2023-35944). What came by TLS is not http.
        guard block.value(at: scheme).equals("https") || !limits.isSecure && block.value(at: scheme).equals("http")
        else { return .malformed }
        guard let path = block.first(.path), isTarget(block.value(at: path)) else { return .malformed }
        if block.value(at: path)[0] != UInt8(ascii: "/") {
            guard block.value(at: path).equals("*"), block.value(at: method).equals("OPTIONS") else {
                return .malformed
            }
        }
        return judgeAuthority(&block, &known) ? .accept : .malformed
    }

    private static func judgeAuthority(_ block: inout HeaderBlock, _ known: inout ByteBuffer) -> Bool {
        if let host = block.first(.host) {
            guard block.next(.host, from: host + 1) == nil else { return false }
            if let authority = block.first(.authority) {
                guard block.value(at: host).equalsIgnoringCase(block.value(at: authority)) else { return false }
            } else {
                guard HostAuthority(block.value(at: host)) != nil else { return false }
                let copy = block.copy()
                block.append(.authority, copy.value(at: host))
            }
            block.remove(.host)
        }
        guard let authority = block.first(.authority) else { return false }
        if !known.isEmpty, block.value(at: authority).equals(known.bytes) { return true }
        guard HostAuthority(block.value(at: authority)) != nil else { return false }
        known.removeAll()
        known.append(block.value(at: authority))
        return true
    }

    private static func isTarget(_ path: Span<UInt8>) -> Bool {
        for index in 0..<path.count where !path[index].isTarget { return false }
        return !path.isEmpty
    }

    /// Judges a response; nil when its status is none. Consent to another protocol is 101, as HTTP/1.1 says it.
    static func judgeResponse(_ block: inout HeaderBlock, isUpgrade: Bool) -> HeadKind? {
        guard let index = block.first(.status), block.value(at: index).count == 3,
            let status = block.value(at: index).decimal, status >= 100, status <= 599, status != 101
        else { return nil }
        if isUpgrade, status >= 200, status < 300 {
            block.replace(.status, "101")
            block.remove(.contentLength)
        }
        return status < 200 ? .interim : .response
    }

    /// Drops what may not stand in trailers: framing, routing, connection fields (RFC 9110 6.5.1).
    static func cleanTrailers(_ block: inout HeaderBlock) {
        var index = block.count - 1
        while index >= 0 {
            if isForbiddenInTrailers(block.mappedName(at: index)) { block.remove(at: index) }
            index -= 1
        }
    }

    static func isForbiddenInTrailers(_ name: HeaderName) -> Bool {
        if name.isPseudo || name.isHopByHop { return true }
        switch name {
        case .host, .contentLength, .te, .trailer, .expect, .authorization, .proxyAuthorization, .cookie, .setCookie,
            .contentType, .contentEncoding, .range:
            return true
        default:
            return false
        }
    }
}
