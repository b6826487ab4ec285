#!/usr/bin/python3
"""ws_server.py PORT: an echo server by python3-websockets."""
import asyncio
import sys

import websockets


async def echo(connection, path="/"):
    if connection.path == "/who":
        await connection.send(connection.request_headers.get("x-forwarded-client-cert", "nobody"))
    async for message in connection:
        if message == "close":
            await connection.close(4001, "as you wish")
            return
        await connection.send(message)


async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=2 ** 24, subprotocols=["chat"]):
        await asyncio.Future()


asyncio.run(main())
