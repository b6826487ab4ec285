"""Requests as bytes: valid ones, and each mutation that some reader takes in another way. The same seed gives the same requests."""
import random

NAME = "app.shop.svc.clusterset.local"
METHODS = ["GET"] * 6 + ["POST"] * 6 + ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "get", "G-T", "PROPFIND", "M!#", "PRI", "GET\t", "G T", ""]
SEGMENTS = ["a", "b c", "..", ".", "", "%2e%2e", "%2F", "%00", "%", "%zz", "a;b", "a=b", "~", "a\\b", "a#b", "\xe9", "%C3%A9", "a\tb", "<x>", "{", "|",
            "a:b", "@", "aa" * 40, "*", "admin", "%61dmin", "[", "\"", "'", "`", "^", "\x7f"]
SIZES = [0, 0, 1, 5, 100, 5_000]
TE = ["chunked"] * 8 + ["Chunked", " chunked", "\tchunked", "chunked ", "chunked,", "x, chunked", "chunked, chunked", "identity", "chunked;x", "\"chunked\"",
                        "xchunked", "chunk", "\x0bchunked", "gzip", ""]
LENGTH = ["{}"] * 8 + ["+{}", "-{}", "0{}", " {} ", "{},{}", "{} {}", "0x{:x}", "{}.0", "", "{}\x0b", "999999999999999999999", "{}\r\nContent-Length: {}", "1{}"]
LINES = ["X-A: 1", "X_B: 2", "x-c:3", "X-D : 4", " X-E: 5", "X-F: a\r\n b", "X-G", ": h", "X-I: \x00", "X-J: \x01", "X-K: \xe9", "X-L: a\rb", "X-M: a\nX-N: b", "Cookie: a=1",
         "Cookie: b=2", "Connection: close", "Connection: keep-alive", "Connection: X-A", "Connection: Content-Length", "TE: trailers", "Expect: 200-ok", "Keep-Alive: 5",
         "Upgrade: h2c", "Transfer_Encoding: chunked", "Content_Length: 3", "Trailer: x", "Proxy-Connection: close", "Content-Type: text/plain", "X-O:", "X-P: " + "v" * 3_000]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\n\r\n"


def trace(number):
    """Far from the small numbers that a refused request is logged with."""
    return f"00-{(1 << 64) + number:032x}-{1:016x}-00"


def request(seed, number, port):
    """(bytes, whether the connection may carry another request afterwards) of request `number` of the run `seed`."""
    chance = random.Random(f"{seed}/{number}")
    odd = chance.random
    wild = odd() < 0.6
    method = chance.choice(METHODS if wild else METHODS[:17])
    target = "/" + "/".join(chance.choice(SEGMENTS if wild else ["a", "b", "%20", "c.d"]) for _ in range(chance.randrange(4)))
    if odd() < 0.3:
        target += "?" + chance.choice(["q", "a=b&c=d", "/../x", "?", "%", "a=\xe9" if wild else "a"])
    host = f"{NAME}:{port}"
    if wild and odd() < 0.15:
        host = chance.choice([host.upper(), host + " ", NAME + f".:{port}", "user@" + host, host + "/x", "", host + "," + host, f"app.shop:{port}", "app.shop.svc:" + str(port)])
    if wild and odd() < 0.1:
        target = chance.choice(["*", f"http://{host}{target}", f"http://{NAME}:{port}", f"HTTP://{host}/x", f"https://{host}/x", "http://other/x", "//x/y", host, "x"])
    version = chance.choice(["HTTP/1.1"] * 20 + (["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", "HTTP/1", ""] if wild else ["HTTP/1.1"]))
    lines = [f"Host: {host}"]
    if wild and odd() < 0.05:
        lines.append(chance.choice([f"Host: {host}", "Host: other", f"host : {host}"]))
    lines.append(f"traceparent: {trace(number)}")
    body = b""
    size = chance.choice(SIZES)
    content = (SMUGGLED + bytes(size))[:size] if odd() < 0.5 else b"b" * size
    kind = odd()
    if method in ("GET", "HEAD") and odd() < 0.8:
        kind = 1
    if kind < 0.35:
        lines.append("Content-Length: " + chance.choice(LENGTH if wild else LENGTH[:1]).format(size, size))
        body = content
    elif kind < 0.7:
        lines.append("Transfer-Encoding: " + chance.choice(TE if wild else TE[:1]))
        at = 0
        while at < size:
            count = min(size - at, chance.choice([1, 7, 100, 4_096]))
            mark = chance.choice(["", "", "", ";a=b", ";a=\"\n\"", " ", "\t;x", ";\x00"]) if wild else ""
            end = chance.choice([b"\r\n"] * 30 + [b"\n", b"", b"\r", b"xx"]) if wild else b"\r\n"
            body += chance.choice(["%x", "%X", "0%x", "0x%x" if wild and odd() < 0.05 else "%x"]).encode() % count + mark.encode("latin-1") + b"\r\n" + content[at:at + count] + end
            at += count
        body += chance.choice([b"0\r\n\r\n"] * 8 + ([b"0\r\nX-T: 1\r\n\r\n", b"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", b"00\r\n\r\n", b"0;x\r\n\r\n", b"0\n\r\n", b"0\r\nX : y\r\n\r\n"] if wild else [b"0\r\n\r\n"]))
        if wild and odd() < 0.1:
            lines.append("Content-Length: " + str(chance.choice([size, 3, 0])))
    if wild:
        lines += chance.sample(LINES, chance.randrange(4))
        if odd() < 0.2:
            chance.shuffle(lines)
    end = chance.choice(["\r\n"] * 40 + ["\n", "\r"]) if wild else "\r\n"
    head = f"{method} {target} {version}".encode("latin-1") + end.encode() + b"".join(line.encode("latin-1") + b"\r\n" for line in lines) + b"\r\n"
    if wild and odd() < 0.02:
        head = b"\r\n" + head
    return head + body
