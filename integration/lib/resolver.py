#!/usr/bin/python3
"""resolver.py ADDRESS LOG: a DNS server for tests, UDP and TCP on port 53; writes each name that it is asked to LOG.

world.test has an address of each family; big.test has 40 addresses (truncated by UDP); liar.test is answered with a wrong
identifier first, then with another question, then truly; virtual.test is given an address of the mesh; dead.test is never
answered; refused.test is refused; the records of broken.test are longer than the message; anything else does not exist.
"""
import socket
import struct
import sys
import threading

ADDRESS, LOG = sys.argv[1], sys.argv[2]
WORLD = sys.argv[3] if len(sys.argv) > 3 else "192.0.2.200"


def question(data):
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode("latin-1"))
        at += data[at] + 1
    kind = struct.unpack(">H", data[at + 1:at + 3])[0]
    return ".".join(labels).lower(), kind, data[12:at + 5]


def message(number, flags, code, asked, records):
    head = struct.pack(">HHHHHH", number, 0x8180 | flags | code, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return head + asked + body


def answers(data, udp):
    name, kind, asked = question(data)
    number = struct.unpack(">H", data[:2])[0]
    with open(LOG, "a") as file:
        file.write(f"{'udp' if udp else 'tcp'} {name} {kind}\n")
    v4 = lambda text: (1, socket.inet_aton(text))
    records = []
    if name == "world.test":
        records = [v4(WORLD)] if kind == 1 else [(28, socket.inet_pton(socket.AF_INET6, "2001:db8::7"))] if kind == 28 else []
    elif name == "two.test":
        records = [v4("10.1.0.199"), v4(WORLD)] if kind == 1 else []
    elif name == "virtual.test":
        records = [v4("240.240.0.1")]
    elif name == "big.test":
        records = [v4(f"192.0.2.{n}") for n in range(1, 41)]
        if udp:
            return [message(number, 0x0200, 0, asked, [])]
    elif name == "dead.test":
        return []
    elif name == "broken.test":
        return [message(number, 0, 0, asked, [v4(WORLD)])[:-2]]
    elif name == "refused.test":
        return [message(number, 0, 5, asked, [])]
    elif name == "liar.test":
        true = message(number, 0, 0, asked, [v4("192.0.2.77")])
        other = message(number, 0, 0, asked.replace(b"liar", b"LAIR"), [v4("192.0.2.66")])
        return [message(number ^ 1, 0, 0, asked, [v4("192.0.2.66")]), other, true]
    else:
        return [message(number, 0, 3, asked, [])]
    return [message(number, 0, 0, asked, records)]


def stream(connection):
    with connection:
        while True:
            head = connection.recv(2, socket.MSG_WAITALL)
            if len(head) < 2:
                return
            data = connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
            for answer in answers(data, False):
                connection.sendall(struct.pack(">H", len(answer)) + answer)


def streams(listener):
    while True:
        threading.Thread(target=stream, args=(listener.accept()[0],), daemon=True).start()


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((ADDRESS, 53))
listener.listen(32)
threading.Thread(target=streams, args=(listener,), daemon=True).start()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((ADDRESS, 53))
print("ready", flush=True)
while True:
    data, peer = datagrams.recvfrom(4096)
    try:
        for answer in answers(data, True):
            datagrams.sendto(answer, peer)
    except (IndexError, struct.error):
        pass
