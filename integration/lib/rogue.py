"""What the hostile suites share: callers that send any bytes, apps that answer any, and a look at what it cost the proxies.

Two clusters of `standalone.py` in a namespace of the step's own. Rows are those of docs/HOSTILE.md.
"""
import random
import socket
import ssl
import statistics
import struct
import sys
import threading

import hpack

import standalone
from standalone import *

NAME = "app.shop.svc.clusterset.local"
GATEWAY = ("127.0.1.1", 15443)
INBOUND = ("127.0.2.10", 15006)
ADDRESSES = {"web": "127.0.1.10", "gw-east": "127.0.1.1", "gw-west": "127.0.2.1", "app": "127.0.2.10"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
# How much slower and larger the programs may be than as they are shipped (sanitizers).
SLOWNESS = float(os.environ.get("MESHFED_SLOWNESS", "1"))
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL, STREAM_CLOSED, CANCEL, CALM = 0, 1, 2, 3, 5, 8, 11


def service(name):
    return NAME.replace("app", name, 1)


def enter():
    """Runs the step again in network, process and mount namespaces that end with it; /proc shows the proxies."""
    if os.environ.get("STANDALONE_INSIDE") == "yes":
        return
    os.environ["STANDALONE_INSIDE"] = "yes"
    os.execvp("unshare", ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c",
                          "ip link set lo up && exec \"$@\"", "sh", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def start_mesh(*tcp):
    """The four proxies, with `ADDR:PORT=NAME:PORT` of east's sidecar; objects of lib/hostile."""
    processes = standalone.up(*tcp, objects=os.path.join(HERE, "hostile", "objects"))
    return {name: Proxy(name, process) for name, process in processes.items()}


class Proxy:
    """One of the four, from outside."""

    def __init__(self, name, process):
        self.name = name
        self.process = process

    @property
    def pid(self):
        return self.process.pid

    def seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Resident MiB."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metric(self, name, **labels):
        text = run(["curl", "--silent", "--max-time", "5", f"http://{ADDRESSES[self.name]}:15020/metrics"]).stdout
        return sum(value for sample, its, value in parse_metrics(text)
                   if sample == name and all(its.get(k) == v for k, v in labels.items()))


# Callers

def dial(address=standalone.SIDECAR, timeout=10, window=None):
    connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    connection.settimeout(timeout)
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(address)
    return connection


def dial_tls(protocols=("http/1.1",), sni="80." + NAME, address=GATEWAY, who="web", timeout=10):
    """A peer with an SVID and no sidecar."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(path(f"{who}.pem"), path(f"{who}.key"))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(dial(address, timeout), server_hostname=sni)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def rest(connection, limit=None):
    """All bytes until the end; b"<reset>" or b"<timeout>" behind them where that is how it ended."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
            if limit and len(data) > limit:
                break
    except (ConnectionError, ssl.SSLError, ssl.SSLEOFError):
        data += b"<reset>"
    except TimeoutError:
        data += b"<timeout>"
    return data


def push(connection, data):
    """Sends all of it or as much as the peer takes before it ends; False when it did not take all."""
    try:
        connection.sendall(data)
        return True
    except (OSError, ssl.SSLError):
        return False


def request(path="/", method="GET", fields="", body="", host=NAME):
    return f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n{body}".encode("latin-1")


def status(data):
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", data)
    return int(match.group(1)) if match else 0


def good(host=NAME, path="/good"):
    """One call of somebody else, over a connection of its own."""
    with dial() as connection:
        connection.sendall(request(path, fields="connection: close\r\n", host=host))
        return rest(connection)


def answers(what, host=NAME):
    came = good(host)
    expect(f"a call of somebody else {what}", "200", came[:200], status(came) == 200)


ENTRIES = {
    "sidecar": lambda: dial(),
    "gateway": lambda: dial_tls(),
}


class Frames:
    """A caller of HTTP/2 that sends what it likes."""

    def __init__(self, connection, settings=b"", opens=True):
        self.socket = connection
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.held = b""
        self.stream = -1
        self.seen = []
        self.data = {}
        self.heads = {}
        self.ended = {}
        self.goaway = None
        self.closed = False
        if opens:
            push(connection, PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, *frames):
        return push(self.socket, b"".join(frames))

    def next(self):
        self.stream += 2
        return self.stream

    def head(self, stream, path="/", method="GET", more=(), end=True, authority=NAME, scheme=None, last=True, pseudo=None):
        """A HEADERS frame. `pseudo` replaces the four."""
        scheme = scheme or ("https" if isinstance(self.socket, ssl.SSLSocket) else "http")
        fields = pseudo if pseudo is not None else [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        block = self.encoder.encode([*fields, *more], huffman=False)
        return frame(HEADERS, (1 if end else 0) | (4 if last else 0), stream, block)

    def ask(self, path="/", **options):
        stream = self.next()
        self.send(self.head(stream, path, **options))
        return stream

    def read(self, seconds=5.0, until=lambda self: False):
        """Reads until the end, the deadline, or what `until` says; answers PING and SETTINGS not at all."""
        end = time.monotonic() + seconds
        while not self.closed and not until(self):
            left = end - time.monotonic()
            if left <= 0:
                return self
            self.socket.settimeout(left)
            try:
                part = self.socket.recv(262_144)
            except TimeoutError:
                return self
            except (ConnectionError, ssl.SSLError, OSError):
                self.closed = True
                return self
            if not part:
                self.closed = True
            self.take(part)
        return self

    def take(self, part):
        self.held += part
        at = 0
        while len(self.held) - at >= 9:
            size = int.from_bytes(self.held[at:at + 3], "big")
            if len(self.held) - at < 9 + size:
                break
            kind, flags = self.held[at + 3], self.held[at + 4]
            stream = int.from_bytes(self.held[at + 5:at + 9], "big")
            body = self.held[at + 9:at + 9 + size]
            at += 9 + size
            self.note(kind, flags, stream, body)
        self.held = self.held[at:]

    def note(self, kind, flags, stream, body):
        self.seen.append((kind, stream))
        if kind == HEADERS:
            # Interim answers and trailers are kept in order.
            self.heads.setdefault(stream, []).append(dict(self.decoder.decode(body)))
        elif kind == DATA:
            self.data[stream] = self.data.get(stream, b"") + body
        elif kind == RST:
            self.ended[stream] = ("reset", int.from_bytes(body, "big"))
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(body[4:8], "big")
        if kind in (HEADERS, DATA) and flags & 1:
            self.ended.setdefault(stream, ("end", 0))

    def answer(self, stream, seconds=5.0):
        """"200", "reset 1", "goaway 11", "closed" or "nothing"."""
        self.read(seconds, lambda s: stream in s.ended or s.goaway is not None and s.goaway != NO_ERROR)
        if stream in self.ended and self.ended[stream][0] == "reset":
            return f"reset {self.ended[stream][1]}"
        if stream in self.ended:
            return next((h[":status"] for h in self.heads[stream] if not h.get(":status", "1").startswith("1")), "none")
        if self.goaway:
            return f"goaway {self.goaway}"
        return "closed" if self.closed else "nothing"

    def count(self, kind):
        return sum(1 for its, _ in self.seen if its == kind)

    def close(self):
        self.socket.close()


def frame(kind, flags, stream, body=b""):
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def split(flags, stream, block):
    """HEADERS and as many CONTINUATIONs as the block needs."""
    pieces = [block[at:at + 16_384] for at in range(0, len(block), 16_384)]
    last = len(pieces) - 1
    return b"".join(frame(CONTINUATION if index else HEADERS, (0 if index else flags) | (4 if index == last else 0), stream, piece)
                    for index, piece in enumerate(pieces))


def literal(fields):
    """HPACK without the table: any bytes for names and values."""
    def text(value):
        value = value if isinstance(value, bytes) else value.encode("latin-1")
        if len(value) < 127:
            return bytes((len(value),)) + value
        left, count = len(value) - 127, b"\x7f"
        while left >= 128:
            count += bytes((left & 127 | 128,))
            left >>= 7
        return count + bytes((left,)) + value
    return b"".join(b"\x10" + text(name) + text(value) for name, value in fields)


TWO = {
    "sidecar": lambda **o: Frames(dial(), **o),
    "gateway": lambda **o: Frames(dial_tls(("h2",)), **o),
}


# Apps

class Recorder:
    """An app of HTTP/1.1 that keeps every byte that reaches it."""

    def __init__(self, port=8080, answer=None):
        self.lock = threading.Lock()
        self.streams = []
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held = bytearray()
        with self.lock:
            self.streams.append(held)
        at = 0
        try:
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                with self.lock:
                    held += part
                while True:
                    taken = whole(held, at)
                    if taken is None:
                        break
                    head, at = bytes(held[at:taken[0]]), taken[1]
                    words = head.split(b" ", 2)
                    if self.answer:
                        if not self.answer(connection, words[0], words[1] if len(words) > 1 else b"", head):
                            return
                    else:
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
        except OSError:
            pass
        finally:
            connection.close()

    def bytes(self):
        with self.lock:
            return b"\n".join(bytes(s) for s in self.streams)

    def requests(self):
        return len(re.findall(rb"(?m)^[A-Z]+ \S+ HTTP/1\.1\r$", self.bytes()))

    def forget(self):
        with self.lock:
            for held in self.streams:
                held_length = len(held)
                held[:] = b"\0" * held_length


def whole(held, at):
    """(end of the head, end of the message) of the request at `at`; None while it is not there."""
    end = held.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    head = bytes(held[at:end]).lower()
    end += 4
    if b"\r\ntransfer-encoding: chunked" in head:
        while True:
            line = held.find(b"\r\n", end)
            if line < 0:
                return None
            size = int(bytes(held[end:line]).split(b";")[0], 16)
            if size == 0:
                last = line if held[line:line + 4] == b"\r\n\r\n" else held.find(b"\r\n\r\n", line)
                if last < 0:
                    return None
                return end, last + 4
            end = line + 2 + size + 2
            if len(held) < end:
                return None
    match = re.search(rb"\r\ncontent-length: (\d+)", head)
    if match:
        if len(held) < end + int(match.group(1)):
            return None
        return end, end + int(match.group(1))
    return end, end


class TwoApp:
    """An app of HTTP/2 without encryption, by bare frames: `behave(app, connection, stream, fields)` answers."""

    def __init__(self, port, behave=None, settings=b""):
        self.behave = behave or (lambda app, caller, stream, fields: app.respond(caller, stream))
        self.settings = settings
        self.heads = []
        self.resets = 0
        self.lock = threading.Lock()
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def end(self):
        """As an app that is killed."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It had ended before.

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        caller = TwoCaller(connection)
        try:
            connection.sendall(frame(SETTINGS, 0, 0, self.settings) + frame(WINDOW, 0, 0, (1 << 30).to_bytes(4, "big")))
            while part := connection.recv(262_144):
                caller.held += part
                for kind, flags, stream, body in caller.frames():
                    if kind == HEADERS:
                        fields = dict(caller.decoder.decode(body))
                        with self.lock:
                            self.heads.append(fields)
                        self.behave(self, caller, stream, fields)
                    elif kind == RST:
                        with self.lock:
                            self.resets += 1
                    elif kind == DATA and body:
                        connection.sendall(frame(WINDOW, 0, stream, len(body).to_bytes(4, "big")) if not flags & 1 else b"")
                    elif kind == SETTINGS and not flags & 1:
                        connection.sendall(frame(SETTINGS, 1, 0))
                    elif kind == PING and not flags & 1:
                        connection.sendall(frame(PING, 1, 0, body))
        except OSError:
            pass
        finally:
            connection.close()

    def respond(self, caller, stream, fields=(), body=b"ok\n", trailers=None, code="200"):
        head = caller.encoder.encode([(":status", code), *fields])
        out = frame(HEADERS, 4 if body or trailers else 5, stream, head)
        for at in range(0, len(body), 16_384):
            piece = body[at:at + 16_384]
            out += frame(DATA, 1 if at + 16_384 >= len(body) and not trailers else 0, stream, piece)
        if trailers:
            out += frame(HEADERS, 5, stream, caller.encoder.encode(list(trailers)))
        caller.socket.sendall(out)


class TwoCaller:
    def __init__(self, connection):
        self.socket = connection
        self.held = b""
        self.opened = False
        self.streams = 0
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()

    def frames(self):
        if not self.opened:
            if len(self.held) < len(PREFACE):
                return
            self.held = self.held[len(PREFACE):]
            self.opened = True
        at = 0
        while len(self.held) - at >= 9:
            size = int.from_bytes(self.held[at:at + 3], "big")
            if len(self.held) - at < 9 + size:
                break
            kind, flags = self.held[at + 3], self.held[at + 4]
            stream = int.from_bytes(self.held[at + 5:at + 9], "big")
            body = self.held[at + 9:at + 9 + size]
            at += 9 + size
            yield kind, flags, stream, body
        self.held = self.held[at:]


# Costs

class Control:
    """Somebody else's calls while something goes on: all must be answered, and none late."""

    def __init__(self, what, rate=50, url=f"http://{NAME}/control"):
        self.what = what
        self.output = open(path("control.rows"), "w+")
        self.process = subprocess.Popen([PYTHON, os.path.join(HERE, "load.py"), OUTBOUND, url, str(rate), "2", "300"], stdout=self.output)

    def __enter__(self):
        wait_until("the first call of somebody else", lambda: os.path.getsize(self.output.name) > 0, seconds=20)
        return self

    def __exit__(self, kind, *_):
        time.sleep(0.1)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        if kind is not None:
            return
        self.output.seek(0)
        rows = [json.loads(line) for line in self.output if line.startswith("[")]
        bad = [row for row in rows if row[1] != 200]
        late = percentile([row[3] for row in rows], 0.99)
        say(f"    {self.what}: {len(rows)} calls of somebody else, p99 {late:.0f} ms")
        few = len(rows) // 50 if SLOWNESS > 1 else 0
        expect(f"calls of somebody else, {self.what}", "all answered by 200", f"{len(bad)} of {len(rows)} not: {bad[:3]}", rows and len(bad) <= few)
        expect(f"p99 of calls of somebody else, {self.what}", f"within {SLOWNESS:.0f} s", f"{late:.0f} ms", late < 1000 * SLOWNESS)


class Costs:
    """Memory, descriptors and processor time of all proxies, before and after."""

    def __init__(self, proxies):
        self.proxies = proxies
        self.memory = {n: p.memory() for n, p in proxies.items()}
        self.descriptors = {n: p.descriptors() for n, p in proxies.items()}
        self.seconds = {n: p.seconds() for n, p in proxies.items()}

    def used(self, name):
        return self.proxies[name].seconds() - self.seconds[name]

    def settled(self, what, growth=12.0, seconds=15, spare=24):
        """Descriptors back but for `spare` (idle connections stay pooled for a minute), memory within `growth` MiB of what it was, all alive, nobody spins."""
        growth += 200 if SLOWNESS > 1 else 0
        for name, proxy in self.proxies.items():
            expect(f"{name} {what}", "runs", f"ended with {proxy.process.poll()}: {log_of(name)[-800:]}", proxy.process.poll() is None)
            wait_until(f"descriptors of {name} {what} ({self.descriptors[name]} before)",
                       lambda: proxy.descriptors() <= self.descriptors[name] + spare, seconds=seconds, every=0.1)
            wait_until(f"memory of {name} {what} ({self.memory[name]:.1f} MiB before, {proxy.memory():.1f} after)",
                       lambda: proxy.memory() <= self.memory[name] + growth, seconds=seconds, every=0.2)
        at = {n: p.seconds() for n, p in self.proxies.items()}
        time.sleep(0.5)
        for name, proxy in self.proxies.items():
            spent = proxy.seconds() - at[name]
            expect(f"processor time of {name} in 0.5 s of quiet, {what}", "under 0.2 s", f"{spent:.2f} s", spent < 0.2 * max(1, SLOWNESS / 5))
