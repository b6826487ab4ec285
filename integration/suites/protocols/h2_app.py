#!/usr/bin/python3
"""h2_app.py PORT: an app of HTTP/2 by python3-h2 that refuses streams and says GOAWAY with calls in flight; answers `CONNECTION/STREAM METHOD LENGTH`."""
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import hyperframe.frame

seen = set()
lock = threading.Lock()


def is_first(word):
    with lock:
        if word in seen:
            return False
        seen.add(word)
        return True


def serve(sock, number):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    heads, lengths, last, leaving = {}, {}, 0, False
    while True:
        data = sock.recv(65536)
        if not data:
            break
        for event in connection.receive_data(data):
            stream = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.RequestReceived):
                heads[stream], lengths[stream] = dict(event.headers), 0
                path = heads[stream][":path"]
                if leaving:
                    # Above the last stream that the GOAWAY named: as if it had never come.
                    del heads[stream]
                elif path.startswith("/refused") and is_first(path):
                    connection.reset_stream(stream, 7)
                    del heads[stream]
                elif path.startswith("/goaway") and is_first(path):
                    leaving = True
                    sock.sendall(connection.data_to_send() + hyperframe.frame.GoAwayFrame(last_stream_id=last, error_code=0).serialize())
                    del heads[stream]
                else:
                    last = stream
            elif isinstance(event, h2.events.DataReceived):
                if stream in heads:
                    lengths[stream] += len(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded) and stream in heads:
                said = f"{number}/{stream} {heads[stream][':method']} {lengths[stream]}".encode()
                connection.send_headers(stream, [(":status", "200"), ("content-length", str(len(said)))])
                connection.send_data(stream, said, end_stream=True)
        sock.sendall(connection.data_to_send())
        if leaving:
            sock.shutdown(socket.SHUT_WR)
            break
    sock.close()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
count = 0
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count += 1
    threading.Thread(target=serve, args=(accepted, count), daemon=True).start()
