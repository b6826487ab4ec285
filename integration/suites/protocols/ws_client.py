#!/usr/bin/python3
"""ws_client.py NAME: WebSocket calls by python3-websockets, through the sidecar on 15080; prints `ok`."""
import asyncio
import os
import sys

import websockets

NAME = sys.argv[1]


def dial(path="/", **options):
    return websockets.connect(f"ws://{NAME}{path}", host="127.0.0.1", port=15080, max_size=2 ** 24, **options)


async def main():
    async with dial(subprotocols=["chat"]) as one:
        assert one.subprotocol == "chat", one.subprotocol
        for size in (0, 1, 125, 126, 65536, 1_000_000, 5_000_000):
            message = os.urandom(size)
            await one.send(message)
            assert await one.recv() == message, size
        pong = await one.ping()
        await asyncio.wait_for(pong, 5)
        await one.send("close")
        await one.wait_closed()
        assert (one.close_code, one.close_reason) == (4001, "as you wish"), (one.close_code, one.close_reason)
    async with dial("/who") as one:
        caller = await one.recv()
        assert "URI=spiffe://east.mesh/ns/shop/sa/web" in caller, caller

    async def chatter(number):
        async with dial() as one:
            for turn in range(50):
                await one.send(f"{number} {turn}")
                assert await one.recv() == f"{number} {turn}"
    await asyncio.gather(*(chatter(n) for n in range(50)))
    try:
        async with websockets.connect("ws://nowhere.shop.svc.clusterset.local/", host="127.0.0.1", port=15080):
            raise SystemExit("an unknown service was upgraded")
    except websockets.InvalidStatusCode as refusal:
        assert refusal.status_code == 404, refusal
    print("ok")


asyncio.run(main())
