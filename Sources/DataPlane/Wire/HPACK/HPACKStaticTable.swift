internal import Containers

/// The static table (RFC 7541 Appendix A), and the ways to find something in it in constant time.
enum HPACKStaticTable {
    struct Row {
        let name: HeaderName
        /// The name's bytes, also of a known one.
        let bytes: StaticString
        let value: StaticString

        init(_ name: HeaderName, _ bytes: StaticString, _ value: StaticString = "") {
            self.name = name
            self.bytes = bytes
            self.value = value
        }
    }

    /// Rows have the indices from 1 to this; those of the dynamic table follow.
    static let count = 61

    /// The row of index 1 comes first.
    static let rows: [Row] = [
        Row(.authority, ":authority"),
        Row(.method, ":method", "GET"),
        Row(.method, ":method", "POST"),
        Row(.path, ":path", "/"),
        Row(.path, ":path", "/index.html"),
        Row(.scheme, ":scheme", "http"),
        Row(.scheme, ":scheme", "https"),
        Row(.status, ":status", "200"),
        Row(.status, ":status", "204"),
        Row(.status, ":status", "206"),
        Row(.status, ":status", "304"),
        Row(.status, ":status", "400"),
        Row(.status, ":status", "404"),
        Row(.status, ":status", "500"),
        Row(.other, "accept-charset"),
        Row(.acceptEncoding, "accept-encoding", "gzip, deflate"),
        Row(.acceptLanguage, "accept-language"),
        Row(.other, "accept-ranges"),
        Row(.accept, "accept"),
        Row(.other, "access-control-allow-origin"),
        Row(.other, "age"),
        Row(.allow, "allow"),
        Row(.authorization, "authorization"),
        Row(.cacheControl, "cache-control"),
        Row(.other, "content-disposition"),
        Row(.contentEncoding, "content-encoding"),
        Row(.other, "content-language"),
        Row(.contentLength, "content-length"),
        Row(.other, "content-location"),
        Row(.other, "content-range"),
        Row(.contentType, "content-type"),
        Row(.cookie, "cookie"),
        Row(.date, "date"),
        Row(.etag, "etag"),
        Row(.expect, "expect"),
        Row(.other, "expires"),
        Row(.other, "from"),
        Row(.host, "host"),
        Row(.other, "if-match"),
        Row(.other, "if-modified-since"),
        Row(.ifNoneMatch, "if-none-match"),
        Row(.other, "if-range"),
        Row(.other, "if-unmodified-since"),
        Row(.lastModified, "last-modified"),
        Row(.other, "link"),
        Row(.location, "location"),
        Row(.other, "max-forwards"),
        Row(.other, "proxy-authenticate"),
        Row(.proxyAuthorization, "proxy-authorization"),
        Row(.range, "range"),
        Row(.referer, "referer"),
        Row(.other, "refresh"),
        Row(.retryAfter, "retry-after"),
        Row(.server, "server"),
        Row(.setCookie, "set-cookie"),
        Row(.other, "strict-transport-security"),
        Row(.transferEncoding, "transfer-encoding"),
        Row(.userAgent, "user-agent"),
        Row(.vary, "vary"),
        Row(.via, "via"),
        Row(.other, "www-authenticate"),
    ]

    /// The first row with that known name; 0 when there is none.
    static func index(of name: HeaderName) -> Int {
        switch name {
        case .authority: 1
        case .method: 2
        case .path: 4
        case .scheme: 6
        case .status: 8
        case .acceptEncoding: 16
        case .acceptLanguage: 17
        case .accept: 19
        case .allow: 22
        case .authorization: 23
        case .cacheControl: 24
        case .contentEncoding: 26
        case .contentLength: 28
        case .contentType: 31
        case .cookie: 32
        case .date: 33
        case .etag: 34
        case .expect: 35
        case .host: 38
        case .ifNoneMatch: 41
        case .lastModified: 44
        case .location: 46
        case .proxyAuthorization: 49
        case .range: 50
        case .referer: 51
        case .retryAfter: 53
        case .server: 54
        case .setCookie: 55
        case .transferEncoding: 57
        case .userAgent: 58
        case .vary: 59
        case .via: 60
        default: 0
        }
    }

    /// The row with that name, which `HeaderName` does not know; 0 when there is none. Length, first and last letter leave one.
    static func index(ofUnknown name: Span<UInt8>) -> Int {
        guard let first = name.isEmpty ? nil : name[0] else { return 0 }
        let last = name[name.count &- 1]
        let index =
            switch name.count {
            case 3: 21
            case 4: last == UInt8(ascii: "m") ? 37 : 45
            case 7: last == UInt8(ascii: "s") ? 36 : 52
            case 8: last == UInt8(ascii: "h") ? 39 : 42
            case 12: 47
            case 13: last == UInt8(ascii: "s") ? 18 : 30
            case 14: 15
            case 16: first == UInt8(ascii: "w") ? 61 : last == UInt8(ascii: "n") ? 29 : 27
            case 17: 40
            case 18: 48
            case 19: last == UInt8(ascii: "n") ? 25 : 43
            case 25: 56
            case 27: 20
            default: 0
            }
        return index > 0 && name.equals(rows[index &- 1].bytes) ? index : 0
    }

    /// The row with exactly this name and value; 0 when there is none, or when it is one that nobody sends.
    @inline(__always)
    static func index(of name: HeaderName, _ value: Span<UInt8>) -> Int {
        switch name {
        case .method: value.equals("GET") ? 2 : value.equals("POST") ? 3 : 0
        case .path: value.count == 1 && value[0] == UInt8(ascii: "/") ? 4 : 0
        case .scheme: value.equals("https") ? 7 : value.equals("http") ? 6 : 0
        case .status: index(ofStatus: value)
        case .acceptEncoding: value.equals("gzip, deflate") ? 16 : 0
        default: 0
        }
    }

    private static func index(ofStatus value: Span<UInt8>) -> Int {
        guard value.count == 3 else { return 0 }
        return switch (value[0], value[1], value[2]) {
        case (0x32, 0x30, 0x30): 8
        case (0x32, 0x30, 0x34): 9
        case (0x32, 0x30, 0x36): 10
        case (0x33, 0x30, 0x34): 11
        case (0x34, 0x30, 0x30): 12
        case (0x34, 0x30, 0x34): 13
        case (0x35, 0x30, 0x30): 14
        default: 0
        }
    }
}
