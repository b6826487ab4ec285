/// Request lines and status lines (RFC 9112 3 and 4), and the four forms of a request target.
enum HTTP1StartLine {
    /// Parses a request line into pseudo fields: `:method`, `:scheme`, `:path`, and `:authority` where the target has one.
    static func request(
        _ line: Span<UInt8>, _ limits: HTTPLimits, _ block: inout HeaderBlock
    ) throws(HTTPFailure) -> HTTP1Facts {
        guard let first = line.firstIndex(of: 32), first > 0,
            let second = line.firstIndex(of: 32, from: first + 1), second > first + 1
        else { throw HTTPFailure(.malformed) }
        let method = line.extracting(first: first)
        guard method.isToken else { throw HTTPFailure(.malformed) }
        if method.count > limits.method { throw HTTPFailure(.unsupportedMethod, status: 501) }
        var facts = HTTP1Facts()
        facts.isVersion10 = try version(line.extracting((second + 1)...))
        facts.isHead = method.equals("HEAD")
        facts.isConnect = method.equals("CONNECT")
        block.append(.method, method)
        let target = line.extracting((first + 1)..<second)
        for index in 0..<target.count where !target[index].isTarget { throw HTTPFailure(.malformed) }
        if facts.isConnect {
            guard let authority = HostAuthority(target), authority.port != nil else { throw HTTPFailure(.badHost) }
            block.append(.authority, target)
            facts.hasTargetAuthority = true
        } else if target[0] == UInt8(ascii: "/") {
            block.append(.scheme, limits.isSecure ? "https" : "http")
            block.append(.path, target)
        } else if target.equals("*") {
            guard method.equals("OPTIONS") else { throw HTTPFailure(.malformed) }
            block.append(.scheme, limits.isSecure ? "https" : "http")
            block.append(.path, target)
        } else {
            try absolute(target, method, &block)
            facts.hasTargetAuthority = true
        }
        return facts
    }

    /// `http://authority/path`, as proxies get it.
    private static func absolute(
        _ target: Span<UInt8>, _ method: Span<UInt8>, _ block: inout HeaderBlock
    ) throws(HTTPFailure) {
        let schemeEnd: Int
        if target.count > 7, target.extracting(first: 7).equalsIgnoringCase("http://") {
            schemeEnd = 4
        } else if target.count > 8, target.extracting(first: 8).equalsIgnoringCase("https://") {
            schemeEnd = 5
        } else {
            throw HTTPFailure(.malformed)
        }
        let start = schemeEnd + 3
        var end = start
        while end < target.count, target[end] != UInt8(ascii: "/"), target[end] != UInt8(ascii: "?") { end += 1 }
        let authority = target.extracting(start..<end)
        guard HostAuthority(authority) != nil else { throw HTTPFailure(.badHost) }
        block.append(.scheme, schemeEnd == 4 ? "http" : "https")
        block.append(.authority, authority)
        if end == target.count {
            block.append(.path, method.equals("OPTIONS") ? "*" : "/")
        } else if target[end] == UInt8(ascii: "/") {
            block.append(.path, target.extracting(end...))
        } else {
            throw HTTPFailure(.malformed)
        }
    }

    /// Parses a status line into `:status`.
    static func response(_ line: Span<UInt8>, _ block: inout HeaderBlock) throws(HTTPFailure) -> HTTP1Facts {
        guard line.count >= 12, line[8] == 32, line.count == 12 || line[12] == 32 else { throw HTTPFailure(.malformed) }
        var facts = HTTP1Facts()
        facts.isVersion10 = try version(line.extracting(first: 8))
        let status = line.extracting(9..<12)
        guard let number = status.decimal, number >= 100, number <= 599 else { throw HTTPFailure(.malformed) }
        for index in 12..<line.count where !line[index].isFieldContent { throw HTTPFailure(.malformed) }
        facts.status = number
        block.append(.status, status)
        return facts
    }

    /// True for HTTP/1.0, false for HTTP/1.1; every other version is refused.
    private static func version(_ text: Span<UInt8>) throws(HTTPFailure) -> Bool {
        guard text.count == 8, text.extracting(first: 5).equals("HTTP/"), text[5].isDigit, text[6] == UInt8(ascii: "."),
            text[7].isDigit
        else { throw HTTPFailure(.malformed) }
        guard text[5] == 49, text[7] <= 49 else { throw HTTPFailure(.unsupportedVersion, status: 505) }
        return text[7] == 48
    }
}
