"""Requests of HTTP/2 as fields, pieces of body and trailers: valid ones, odd ones that the standard allows, and some that it does not."""
import random

from generator import NAME, SMUGGLED, trace

METHODS = ["GET"] * 6 + ["POST"] * 6 + ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "get", "G-T", "PROPFIND", "M!#", "PRI", "QUERY"]
BAD_METHODS = ["", "G T", "GET\t", "GET / HTTP/1.1\r\nX", "CONNECT"]
SEGMENTS = ["a", "..", ".", "", "%2e%2e", "%2F", "%00", "%", "%zz", "a;b", "a=b", "~", "a:b", "@", "aa" * 40, "admin", "%61dmin", "'", "!$&()*+,", "[", "{", "|", "<x>", "\"",
            "`", "^", "\\"]
BAD_SEGMENTS = ["b c", "a#b", "\xe9", "a\tb", "\x7f", "\x00", "a\r\nX: y"]
SIZES = [0, 0, 1, 5, 100, 5_000, 40_000]
# What may stand in a request of HTTP/2, and is written in another way in HTTP/1.1, or read by some server in a way of its own.
LINES = [("x-a", "1"), ("x_b", "2"), ("x-c", ""), ("x-d", "a, b"), ("x-e", "a\tb"), ("x-f", "\xe9"), ("x-g", "v" * 3_000), ("te", "trailers"), ("trailer", "x-t"),
         ("content-type", "text/plain"), ("content_length", "3"), ("transfer_encoding", "chunked"), ("expect", "100-continue"), ("x-h", "a:b\"c\"\\"), ("x!#$%&'*+.^`|~", "1"),
         ("accept-encoding", "gzip"), ("x-a", "2"), ("forwarded", "for=x"), ("via", "1.0 x"), ("max-forwards", "0"), ("range", "bytes=0-0,2-"), ("host_", "x")]
BAD_LINES = [("X-Upper", "1"), ("connection", "close"), ("connection", "x-a"), ("keep-alive", "5"), ("proxy-connection", "close"), ("upgrade", "h2c"), ("transfer-encoding", "chunked"),
             ("te", "gzip"), ("x-i", "a\r\nb: c"), ("x-j", "a\nb"), ("x-k", "a\0b"), ("x y", "1"), ("x:", "1"), ("", "1"), (":late", "1"), ("host", "other"), ("content-length", "+0"),
             ("content-length", "0, 0"), ("content-length", "1"), ("x-l", " padded "), ("x-m", "a\rb")]
CRUMBS = ["a=1", "b=2", "c=\"3\"", "d", "e=f=g", "h=" + "v" * 200]


def request2(seed, number, port, scheme):
    """(fields, pieces of the body, trailers or None, the one cookie that an app is to see or "") of request `number` of the run `seed`."""
    chance = random.Random(f"{seed}/2/{number}")
    odd = chance.random
    bad = odd() < 0.15
    method = chance.choice(METHODS)
    segments = list(SEGMENTS)
    authority = f"{NAME}:{port}"
    lines = [("traceparent", trace(number))]
    body = b""
    if odd() < 0.5 or method == "POST":
        size = chance.choice(SIZES)
        body = (SMUGGLED + bytes(size))[:size] if odd() < 0.5 else b"b" * size
    length = odd() < 0.4
    if odd() < 0.2:
        authority = chance.choice([authority.upper(), NAME + f".:{port}", f"app.shop:{port}" if scheme == "http" else f"{port}.{NAME}", NAME if port == 80 else authority])
    if odd() < 0.1:
        lines.append(("host", authority))
    if odd() < 0.5:
        lines += chance.sample(LINES, chance.randrange(4))
    fault = chance.randrange(6) if bad else -1
    if fault == 0:
        method = chance.choice(BAD_METHODS)
    elif fault == 1:
        segments = BAD_SEGMENTS
    elif fault == 2:
        authority = chance.choice(["user@" + authority, authority + "/x", "", authority + "," + authority, "other:80", authority + " ", f"{NAME}:{port}0000"])
    elif fault == 3:
        lines.append(chance.choice(BAD_LINES))
    elif fault == 4:
        lines.append(("content-length", str(chance.choice([len(body) + 1, max(0, len(body) - 1), 10 ** 19, -1]))))
        length = False
    target = "/" + "/".join(chance.choice(segments if odd() < 0.6 or fault == 1 else ["a", "b", "%20", "c.d"]) for _ in range(1 + chance.randrange(4)))
    if odd() < 0.3:
        target += "?" + chance.choice(["q", "a=b&c=d", "/../x", "?", "%", "a=/b?c"])
    if fault == 5:
        target = chance.choice(["*", f"http://{authority}/x", "x", "", authority])
    if length:
        lines.append(("content-length", str(len(body))))
    crumbs = chance.sample(CRUMBS, chance.randrange(1, 5)) if odd() < 0.4 else []
    pairs = chance.randrange(2) if len(crumbs) > 2 else 0
    # Some crumbs stand together, as an HTTP/1.1 client would have them.
    cookies = ["; ".join(crumbs[:2])] + crumbs[2:] if pairs else crumbs
    lines += [("cookie", text) for text in cookies]
    order = list(range(len(lines)))
    if odd() < 0.5:
        chance.shuffle(order)
        # What a cookie says depends on its order only.
        kept = iter(text for text in cookies)
        lines = [(lines[i][0], next(kept)) if lines[i][0] == "cookie" else lines[i] for i in order]
    fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", target)]
    if odd() < 0.3:
        chance.shuffle(fields)
    trailers = None
    if odd() < 0.15:
        trailers = chance.sample([("x-t", "1"), ("x-u", ""), ("grpc-status", "0"), ("x-checksum", "abc"), ("content-type", "x")], 1 + chance.randrange(2))
    pieces, at = [], 0
    while at < len(body):
        count = min(len(body) - at, chance.choice([1, 7, 100, 16_000, 16_384]) if len(body) < 200 else chance.choice([100, 4_096, 16_000]))
        pieces.append((body[at:at + count], chance.choice([None] * 6 + [0, 1, 255])))
        at += count
    if odd() < 0.05:
        pieces.append((b"", None))
    return fields + lines, pieces, trailers, "; ".join(crumbs)
