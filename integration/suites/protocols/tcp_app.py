#!/usr/bin/python3
"""tcp_app.py PORT: what it does is in the first line; it speaks first."""
import socket
import struct
import sys
import threading


def serve(connection):
    connection.sendall(b"welcome\n")
    file = connection.makefile("rb")
    word = file.readline().strip()
    try:
        if word == b"echo":
            while data := file.read1(65536):
                connection.sendall(data)
            connection.sendall(b"end")
        elif word == b"count":
            connection.shutdown(socket.SHUT_WR)
            total = 0
            while data := file.read1(65536):
                total += len(data)
            with open(sys.argv[2], "a") as out:
                out.write(f"{total}\n")
        elif word == b"reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif word == b"wait":
            try:
                last = file.read(1)
                heard = "end" if last == b"" else "byte"
            except ConnectionError:
                heard = "reset"
            with open(sys.argv[2], "a") as out:
                out.write(heard + "\n")
    finally:
        file.close()
        connection.close()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
