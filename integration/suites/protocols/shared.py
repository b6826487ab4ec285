"""What the steps share: names, raw HTTP/1.1, HTTP/2 without encryption by python3-h2."""
import socket
import struct
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

from standalone import *

NAME = "app.shop.svc.clusterset.local"
FILES, TWO, WS, CALLS, STREAMS = (NAME.replace("app", name, 1) for name in ("files", "two", "ws", "calls", "streams"))
HERE_SUITE = os.environ["SUITE_DIR"]
MODES = ("keep-alive", "close")


def app():
    start([PYTHON, os.path.join(HERE_SUITE, "app.py"), "8080"], "app-http")
    await_port(8080)


def nginx():
    folder = path("nginx")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "large"), "wb") as file:
        file.write(bytes(range(256)) * 4096)
    with open(os.path.join(folder, "nginx.conf"), "w") as file:
        file.write(f"""user root; daemon off; error_log stderr; pid {folder}/pid; worker_processes 1; events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
scgi_temp_path {folder}/s; client_max_body_size 400m;
server {{ listen 127.0.0.1:8081; root {folder}; location = /nothing {{ return 204; }}
location = /echo {{ proxy_pass http://127.0.0.1:8091; proxy_set_header Host $http_host; }} }}
server {{ listen 127.0.0.1:8091; location / {{ return 200 "$request_method $request_uri $host $content_length\\n"; }} }} }}
""")
    start(["nginx", "-c", os.path.join(folder, "nginx.conf")], "nginx")
    await_port(8081)
    return folder


def await_port(port, host="127.0.0.1"):
    def ask():
        try:
            socket.create_connection((host, port), 1).close()
            return True
        except OSError:
            return False
    wait_until(f"port {port} is open", ask)


class HTTP1:
    """One connection to the sidecar; bytes as they are."""

    def __init__(self, address=SIDECAR, timeout=10):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))
        return self

    def request(self, path="/", method="GET", fields="", body="", host=NAME):
        return self.send(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n{body}")

    def more(self):
        part = self.socket.recv(65536)
        if not part:
            raise EOFError(self.held)
        self.held += part

    def until(self, mark):
        while mark not in self.held:
            self.more()
        found, self.held = self.held.split(mark, 1)
        return found

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        return int(lines[0].split(" ")[1]), [(name.lower(), value) for name, value in fields]

    def exactly(self, count):
        while len(self.held) < count:
            self.more()
        data, self.held = self.held[:count], self.held[count:]
        return data

    def answer(self, head=False):
        """The final answer: status, fields, body, trailers, heads of 1xx."""
        interim = []
        status, fields = self.head()
        while status < 200 and status != 101:
            interim.append((status, fields))
            status, fields = self.head()
        named, data, trailers = dict(fields), b"", []
        if head or status in (101, 204, 304):
            pass
        elif named.get("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                data += self.exactly(size)
                self.exactly(2)
            while line := self.until(b"\r\n"):
                trailers.append(tuple(part.strip() for part in line.decode().split(":", 1)))
        elif "content-length" in named:
            data = self.exactly(int(named["content-length"]))
        else:
            data = self.rest()
        return Answer(status, fields, data, trailers, interim)

    def rest(self):
        try:
            while True:
                self.more()
        except EOFError:
            data, self.held = self.held, b""
            return data

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Answer:
    def __init__(self, status, fields, body, trailers=(), interim=()):
        self.status, self.fields, self.body, self.trailers, self.interim = status, fields, body, list(trailers), list(interim)
        self.named = dict(fields)

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failed("the body", "JSON", repr(self.body[:300]))

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def __str__(self):
        return f"{self.status} {self.fields} {self.body[:200]!r} trailers {self.trailers} interim {self.interim}"


class HTTP2:
    """A connection without encryption by python3-h2."""

    def __init__(self, address=SIDECAR, timeout=10, sock=None):
        self.socket = sock or socket.create_connection(address, timeout)
        self.socket.settimeout(timeout)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8",
                                                                                 validate_outbound_headers=False, normalize_outbound_headers=False))
        self.connection.initiate_connection()
        self.answers, self.data, self.trailers, self.interim, self.ended, self.codes = {}, {}, {}, {}, set(), {}
        self.flush()

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def open(self, path="/", method="GET", more=(), end=True, authority=NAME, scheme="http"):
        stream = self.connection.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", authority)]
        if path is not None:
            pseudo += [(":scheme", scheme), (":path", path)]
        self.connection.send_headers(stream, [*pseudo, *more], end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end=False):
        self.connection.send_data(stream, data, end_stream=end)
        self.flush()

    def step(self):
        part = self.socket.recv(65536)
        if not part:
            raise EOFError
        for event in self.connection.receive_data(part):
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.ResponseReceived):
                self.answers[stream] = event.headers
            elif isinstance(event, h2.events.InformationalResponseReceived):
                self.interim.setdefault(stream, []).append(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.data[stream] = self.data.get(stream, b"") + event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[stream] = event.headers
            elif isinstance(event, h2.events.StreamReset):
                self.codes[stream] = event.error_code
                self.ended.add(stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(stream)
        self.flush()

    def answer(self, stream, head=False):
        while stream not in self.ended and not (head and stream in self.answers):
            self.step()
        fields = self.answers.get(stream) or [(":status", "0")]
        return Answer(int(dict(fields)[":status"]), fields, self.data.get(stream, b""), self.trailers.get(stream, []),
                      [(int(dict(f)[":status"]), f) for f in self.interim.get(stream, [])])


def get(path="/", **options):
    """One request on a connection of its own, over HTTP/1.1."""
    caller = HTTP1()
    answer = caller.request(path, **options).answer(head=options.get("method") == "HEAD")
    caller.close()
    return answer


def is_status(what, answer, status):
    expect(what, status, str(answer), answer.status == status)
    return answer
