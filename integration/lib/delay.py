#!/usr/bin/python3
"""delay.py HOST:PORT HOST:PORT MILLISECONDS: takes connections at the first address, hands their bytes to the second one, each way so much later.

A long line without netem: bytes are in flight, not held back, so rate is the sender's and its window's affair.
"""
import asyncio
import sys

# What may be in flight each way.
LIMIT = 64 * 1024 * 1024


async def carry(reader, writer, delay):
    loop = asyncio.get_running_loop()
    queue, held, room = asyncio.Queue(), 0, asyncio.Event()
    room.set()

    async def take():
        nonlocal held
        while True:
            try:
                data = await reader.read(262_144)
            except ConnectionError:
                data = None
            queue.put_nowait((loop.time() + delay, data))
            if not data:
                return
            held += len(data)
            if held > LIMIT:
                room.clear()
                await room.wait()

    async def give():
        nonlocal held
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            try:
                if data is None:
                    writer.transport.abort()
                    return
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
            except (ConnectionError, OSError):
                return
            held -= len(data)
            room.set()

    await asyncio.gather(take(), give())


async def main():
    (host, port), (next_host, next_port) = (word.rsplit(":", 1) for word in sys.argv[1:3])
    delay = float(sys.argv[3]) / 1000

    async def accept(reader, writer):
        try:
            onward_reader, onward_writer = await asyncio.open_connection(next_host, int(next_port), limit=1 << 20)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(carry(reader, onward_writer, delay), carry(onward_reader, writer, delay))
        onward_writer.close()
        writer.close()

    server = await asyncio.start_server(accept, host, int(port), limit=1 << 20)
    async with server:
        await server.serve_forever()


asyncio.run(main())
