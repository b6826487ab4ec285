"""The app of the suite: HTTP on 8080 and bytes on 9000, with the manners that each path or first line asks for."""
import asyncio
import hashlib
import socket
import struct

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def http(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if path == "/early":
                writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno\n")
                await asyncio.sleep(30)
            if length:
                await reader.readexactly(length)
            if path.startswith("/big/"):
                size = int(path[5:])
                writer.write(HEAD + f"content-length: {size}\r\n\r\n".encode())
                for at in range(0, size, 65536):
                    writer.write(b"x" * min(65536, size - at))
                    await writer.drain()
            elif path == "/events":
                writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
                for _ in range(60):
                    writer.write(b"5\r\ntick\n\r\n")
                    await writer.drain()
                    await asyncio.sleep(1)
                writer.write(b"0\r\n\r\n")
            elif path == "/wait":
                await asyncio.sleep(3)
                writer.write(HEAD + b"content-length: 5\r\n\r\nlate\n")
            elif path == "/never":
                await asyncio.sleep(3600)
            elif path == "/reset":
                writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.2)
                return reset(writer)
            else:
                writer.write(HEAD + b"content-length: 3\r\n\r\nok\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def stream(reader, writer):
    try:
        manner = (await reader.readline()).strip()
        if manner == b"slow":
            total = hashlib.sha256()
            while data := await reader.read(32768):
                total.update(data)
                await asyncio.sleep(0.005)
            writer.write(total.hexdigest().encode())
            await writer.drain()
        elif manner == b"push":
            while True:
                writer.write(b"tick\n")
                await writer.drain()
                await asyncio.sleep(6)
        elif manner == b"hold":
            await asyncio.sleep(3600)
        elif manner == b"reset":
            writer.write(b"begun\n")
            await writer.drain()
            await asyncio.sleep(0.2)
            return reset(writer)
        elif manner == b"watch":
            try:
                await reader.read()
                LAST.append("end")
            except ConnectionError:
                LAST.append("reset")
        elif manner == b"last":
            writer.write((LAST[-1] if LAST else "nothing").encode())
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


LAST = []


async def main():
    # A small window: the app is slower than the mesh in front of it.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(("127.0.0.1", 9000))
    await asyncio.start_server(stream, sock=listener, limit=65536, backlog=1024)
    server = await asyncio.start_server(http, "127.0.0.1", 8080, limit=65536, backlog=1024)
    await server.serve_forever()


asyncio.run(main())
