#!/usr/bin/python3
"""peer.py ADDRESS SNI CERT KEY [--alpn h2] [--header NAME:VALUE]… [--path /] [--raw TEXT] [--tls 1.2]: one connection of a peer
that is not meshfed (Python's ssl and h2), with a client certificate; what came of it as JSON on one line.

It does not judge the server's certificate: it stands for an attacker, or for a foreign proxy in the negative suites.
"""
import argparse
import json
import socket
import ssl
import h2.config
import h2.connection
import h2.errors
import h2.events

parser = argparse.ArgumentParser()
parser.add_argument("address")
parser.add_argument("sni")
parser.add_argument("cert")
parser.add_argument("key")
parser.add_argument("--alpn", default="h2")
parser.add_argument("--authority")
parser.add_argument("--method", default="GET")
parser.add_argument("--path", default="/")
parser.add_argument("--header", action="append", default=[])
parser.add_argument("--tls", default="1.3")
parser.add_argument("--handshake-only", action="store_true")
options = parser.parse_args()

result = {"accepted": False, "error": "", "alpn": None, "status": 0, "headers": {}, "body": ""}
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_2
if options.tls == "1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
if options.cert != "-":
    context.load_cert_chain(options.cert, options.key)
context.set_alpn_protocols([options.alpn])


def exchange(connection):
    session = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    session.initiate_connection()
    connection.sendall(session.data_to_send())
    stream = None
    while True:
        data = connection.recv(65536)
        if not data:
            result["error"] = result["error"] or "closed"
            return
        for event in session.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                # The server's SETTINGS come behind its check of our certificate: only now are we in.
                result["accepted"] = True
                if options.handshake_only:
                    return
                if stream is None:
                    stream = session.get_next_available_stream_id()
                    port, _, name = options.sni.partition(".")
                    headers = [(":method", options.method), (":scheme", "https"), (":path", options.path),
                               (":authority", options.authority or f"{name}:{port}")]
                    headers += [tuple(h.split(":", 1)) for h in options.header]
                    session.send_headers(stream, headers, end_stream=True)
            elif isinstance(event, h2.events.ResponseReceived):
                for name, value in event.headers:
                    if name == ":status":
                        result["status"] = int(value)
                    else:
                        result["headers"][name] = value
            elif isinstance(event, h2.events.DataReceived):
                result["body"] += event.data.decode("latin-1")
                session.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                if isinstance(event, h2.events.StreamReset):
                    result["error"] = f"reset {event.error_code}"
                return
            elif isinstance(event, h2.events.ConnectionTerminated):
                result["error"] = f"goaway {event.error_code}"
                return
        connection.sendall(session.data_to_send())


host, _, port = options.address.rpartition(":")
try:
    with socket.create_connection((host.strip("[]"), int(port)), timeout=8) as plain:
        with context.wrap_socket(plain, server_hostname=options.sni or None) as connection:
            result["alpn"] = connection.selected_alpn_protocol()
            result["tls"] = connection.version()
            exchange(connection)
except ssl.SSLError as error:
    result["error"] = (error.reason or str(error)).lower().replace("_", " ")
except OSError as error:
    result["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(result))
