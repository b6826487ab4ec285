#!/usr/bin/python3
"""app.py PORT: an HTTP/1.1 app on a bare socket, that says byte for byte what its path asks for and what it was asked."""
import json
import socket
import sys
import threading
import time


class Reader:
    def __init__(self, connection):
        self.connection, self.held = connection, b""

    def more(self):
        part = self.connection.recv(65536)
        if not part:
            raise EOFError
        self.held += part

    def line(self):
        while b"\r\n" not in self.held:
            self.more()
        line, self.held = self.held.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, count):
        while len(self.held) < count:
            self.more()
        data, self.held = self.held[:count], self.held[count:]
        return data

    def fields(self):
        fields = []
        while line := self.line():
            name, value = line.split(":", 1)
            fields.append([name.lower(), value.strip()])
        return fields

    def body(self, fields):
        named = dict(fields)
        if named.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.line().split(";")[0], 16):
                data += self.exactly(size)
                self.line()
            return data, self.fields()
        return self.exactly(int(named.get("content-length", 0))), []


def serve(connection, number):
    reader = Reader(connection)
    send = connection.sendall
    count = 0
    try:
        while True:
            method, target, version = reader.line().split(" ")
            fields = reader.fields()
            count += 1
            named = dict(fields)
            path = target.split("?")[0]
            if path == "/upgrade":
                send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: " + named["upgrade"].encode() + b"\r\nx-key: "
                     + named.get("sec-websocket-key", "-").encode() + b"\r\n\r\nhello " + named["upgrade"].encode() + b"\n")
                try:
                    while True:
                        if not reader.held:
                            reader.more()
                        data, reader.held = reader.held, b""
                        if data == b"end\n":
                            send(b"goodbye\n")
                            return
                        send(data)
                except EOFError:
                    send(b"the caller has ended\n")
                    return
            if path == "/refuse":
                send(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n")
                return
            if named.get("expect", "").lower() == "100-continue":
                send(b"HTTP/1.1 100 Continue\r\n\r\n")
            body, trailers = reader.body(fields)
            said = json.dumps({"method": method, "target": target, "version": version, "fields": fields, "length": len(body),
                               "body": body[:200].decode("latin-1"), "trailers": trailers, "connection": number, "count": count}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            if path == "/hints":
                for link in (b"</a.css>; rel=preload", b"</b.css>; rel=preload"):
                    send(b"HTTP/1.1 103 Early Hints\r\nlink: " + link + b"\r\n\r\n")
                    time.sleep(0.05)
            if path == "/chunked":
                send(head + b"transfer-encoding: chunked\r\n\r\n")
                for start in range(0, len(said), 7):
                    part = said[start:start + 7]
                    send(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
                send(b"0\r\n\r\n")
            elif path == "/trailers":
                send(head + b"trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum: 42\r\nX-Forwarded-Client-Cert: a\r\n"
                     b"Meshfed-Error: no_route; dispatched=0\r\n\r\n" % (len(said), said))
            elif path == "/close":
                send(head + b"\r\n" + said)
                return
            elif path == "/204":
                send(b"HTTP/1.1 204 No Content\r\nx-seen: %d\r\n\r\n" % len(body))
            elif path == "/304":
                send(b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 1234\r\n\r\n")
            elif method == "HEAD":
                send(head + b"content-length: 4321\r\n\r\n")
            elif path == "/cookies":
                send(head + b"set-cookie: a=1; path=/\r\nset-cookie: b=2, c\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))
            elif path == "/large-head":
                send(head + b"".join(b"x-%03d: %s\r\n" % (n, b"v" * 500) for n in range(100)) + b"content-length: 2\r\n\r\nok")
            elif path == "/reset":
                send(head + b"content-length: 1000\r\n\r\npart")
                time.sleep(0.1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            elif path == "/slow":
                time.sleep(float(target.split("?")[1]))
                send(head + b"content-length: %d\r\n\r\n%s" % (len(said), said))
            else:
                send(head + b"content-length: %d\r\n\r\n%s" % (len(said), said))
            if named.get("connection") == "close":
                return
    except (EOFError, ConnectionError, ValueError):
        pass
    finally:
        connection.close()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)
number = 0
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    number += 1
    threading.Thread(target=serve, args=(accepted, number), daemon=True).start()
