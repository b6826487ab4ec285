internal import Containers

/// Writes heads of HTTP/1.1: always a new message, from the fields that may travel on.
enum HTTP1Writer {
    /// How the end of a body is told (RFC 9112 6.3).
    enum Framing: Equatable {
        /// There is no body.
        case none
        case length(Int)
        case chunked
        /// The connection ends with it (peers of HTTP/1.0).
        case close
        /// Another protocol's bytes, both ways, until the connections end.
        case tunnel
    }

    /// False when the request cannot be said in HTTP/1.1 without changing it.
    static func request(
        _ block: borrowing HeaderBlock, _ framing: Framing, to out: inout ByteBuffer
    ) -> Bool {
        let method = block.value(of: .method)
        let path = block.value(of: .path)
        let authority = block.value(of: .authority)
        guard method.isToken, !path.isEmpty, HostAuthority(authority) != nil else { return false }
        for index in 0..<path.count where !path[index].isTarget { return false }
        out.append(method)
        out.append(32)
        out.append(path)
        out.append(" HTTP/1.1\r\nhost: ")
        out.append(authority)
        out.append("\r\n")
        fields(block, to: &out)
        switch framing {
        case .none:
            if method.equals("POST") || method.equals("PUT") || method.equals("PATCH") {
                out.append("content-length: 0\r\n")
            }
        case .length(let count): length(count, to: &out)
        case .chunked: out.append("transfer-encoding: chunked\r\n")
        case .tunnel: upgrade(block.value(of: .protocol), to: &out)
        case .close: return false
        }
        if block.value(of: .te).equalsIgnoringCase("trailers") { out.append("te: trailers\r\nconnection: te\r\n") }
        out.append("\r\n")
        return true
    }

    static func response(
        _ block: borrowing HeaderBlock, _ status: Int, _ framing: Framing, close: Bool,
        upgrade name: Span<UInt8> = Span(), to out: inout ByteBuffer
    ) {
        statusLine(status, to: &out)
        fields(block, to: &out)
        switch framing {
        case .none, .close: break
        case .length(let count): length(count, to: &out)
        case .chunked: out.append("transfer-encoding: chunked\r\n")
        case .tunnel: upgrade(name, to: &out)
        }
        out.append(close ? "connection: close\r\n\r\n" : "\r\n")
    }

    /// An answer that the session gives by itself, before it closes.
    static func refusal(_ status: Int, dispatched: Bool, to out: inout ByteBuffer) {
        statusLine(status, to: &out)
        out.append("content-length: 0\r\nmeshfed-error: ")
        out.append(status == 413 || status == 414 || status == 431 ? "too_large" : "request_invalid")
        out.append(dispatched ? "; dispatched=1\r\n" : "; dispatched=0\r\n")
        out.append("connection: close\r\n\r\n")
    }

    static func statusLine(_ status: Int, to out: inout ByteBuffer) {
        out.append("HTTP/1.1 ")
        out.append(decimal: status)
        out.append(32)
        out.append(phrase(status))
        out.append("\r\n")
    }

    /// Trailers of a chunked body, each on its line.
    static func trailers(_ block: borrowing HeaderBlock, to out: inout ByteBuffer) {
        for index in 0..<block.count {
            if HTTP2Rules.isForbiddenInTrailers(block.mappedName(at: index)) { continue }
            line(block, index, to: &out)
        }
    }

    private static func fields(_ block: borrowing HeaderBlock, to out: inout ByteBuffer) {
        for index in 0..<block.count {
            let name = block.mappedName(at: index)
            if name.isPseudo || name.isHopByHop { continue }
            switch name {
            case .host, .contentLength, .te: continue
            case .cookie: if block.first(.cookie) == index { cookies(block, to: &out) }
            default: line(block, index, to: &out)
            }
        }
    }

    /// One Cookie field for HTTP/2's crumbs (RFC 9113 8.2.3).
    private static func cookies(_ block: borrowing HeaderBlock, to out: inout ByteBuffer) {
        out.append("cookie: ")
        var next = block.first(.cookie)
        var isFirst = true
        while let index = next {
            if block.value(at: index).isFieldContent {
                if !isFirst { out.append("; ") }
                out.append(block.value(at: index))
                isFirst = false
            }
            next = block.next(.cookie, from: index + 1)
        }
        out.append("\r\n")
    }

    private static func line(_ block: borrowing HeaderBlock, _ index: Int, to out: inout ByteBuffer) {
        let value = block.value(at: index)
        // The last guard against splitting: parsers refuse such bytes already (HOSTILE 71).
        guard value.isFieldContent else { return }
        out.append(block.nameBytes(at: index))
        out.append(": ")
        out.append(value)
        out.append("\r\n")
    }

    private static func upgrade(_ name: Span<UInt8>, to out: inout ByteBuffer) {
        out.append("connection: upgrade\r\nupgrade: ")
        out.append(name)
        out.append("\r\n")
    }

    private static func length(_ count: Int, to out: inout ByteBuffer) {
        out.append("content-length: ")
        out.append(decimal: count)
        out.append("\r\n")
    }

    private static func phrase(_ status: Int) -> StaticString {
        switch status {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 103: "Early Hints"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case 508: "Loop Detected"
        default: "Status"
        }
    }
}
