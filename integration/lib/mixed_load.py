#!/usr/bin/python3
"""mixed_load.py SECONDS CONFIG: gRPC calls, TCP conversations and fresh mTLS connections at a steady rate; counts as JSON.

CONFIG is JSON: {"grpc": [target, authority, rate], "tcp": [address, rate], "tls": [address, sni, host, cert, key, rate]}; a
key that is missing is not run. Each kind counts `done` and lists its first failures. A TCP conversation lasts a second and
says five lines; a TLS one makes a new connection straight to a gateway and one HTTP/1.1 request on it.
"""
import json
import socket
import ssl
import sys
import threading
import time

seconds, config = float(sys.argv[1]), json.loads(sys.argv[2])
begun = time.monotonic()
results = {kind: {"done": 0, "failed": 0, "failures": [], "slowest": 0.0} for kind in config}
lock = threading.Lock()


def note(kind, failure, took):
    with lock:
        entry = results[kind]
        entry["done"] += 1
        entry["slowest"] = max(entry["slowest"], took)
        if failure:
            entry["failed"] += 1
            if len(entry["failures"]) < 5:
                entry["failures"].append(f"{time.monotonic() - begun:.2f} s: {failure}")


def steady(kind, rate, width, act):
    """`act` every 1/rate seconds, by `width` threads in turn; an act that takes longer delays its own thread only."""
    def worker(index):
        turn = index
        while True:
            due = begun + turn / rate
            turn += width
            if due - begun > seconds:
                return
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            sent = time.monotonic()
            try:
                failure = act(index)
            except Exception as error:
                failure = repr(error)
            note(kind, failure, time.monotonic() - sent)
    return [threading.Thread(target=worker, args=(i,), daemon=True) for i in range(width)]


def talk(address):
    host, port = address.rsplit(":", 1)

    def act(_):
        with socket.create_connection((host, int(port)), timeout=10) as s:
            reader = s.makefile("rb")
            greeting = reader.readline()
            if not greeting:
                return "no greeting"
            for number in range(5):
                line = f"line {number}\n".encode()
                s.sendall(line)
                came = reader.readline()
                if came != line:
                    return f"line {number} came back as {came!r}"
                time.sleep(0.2)
            s.shutdown(socket.SHUT_WR)
            rest = reader.read()
            return f"{len(rest)} bytes too many" if rest else None
    return act


def fresh(address, sni, host, certificate, key):
    place, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(certificate, key)
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    def act(_):
        with socket.create_connection((place, int(port)), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=sni) as s:
                s.sendall(request)
                answer = b""
                while True:
                    part = s.recv(65536)
                    if not part:
                        break
                    answer += part
        return None if answer.startswith(b"HTTP/1.1 200") else answer[:200].decode("latin-1")
    return act


def unary(target, authority):
    import grpc
    settings = [("grpc.enable_retries", 0), ("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(target, options=settings) for _ in range(2)]
    calls = [c.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
             for c in channels]

    def act(index):
        calls[index % len(calls)](b"", timeout=10)
    return act


threads = []
if "grpc" in config:
    target, authority, rate = config["grpc"]
    threads += steady("grpc", rate, 8, unary(target, authority))
if "tcp" in config:
    address, rate = config["tcp"]
    threads += steady("tcp", rate, max(2, int(rate * 2)), talk(address))
if "tls" in config:
    *where, rate = config["tls"]
    threads += steady("tls", rate, 8, fresh(*where))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(seconds + 30)
print(json.dumps(results))
