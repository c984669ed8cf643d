"""losing: a proxy on loopback that lets a request through, and cuts the connection before all of the answer is out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Each connection is cut when so many bytes of the hub's answer have passed."""

    port: int  # of the hub
    cuts: Iterator[int]
    answers: list[bytes] = field(default_factory=list)  # what the hub said, whether or not the client heard of it

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self.port)
        sending = asyncio.create_task(_pass(reader, hub_writer))
        try:
            head = await hub_reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            answer = head + await hub_reader.readexactly(length)
            self.answers.append(answer)
            writer.write(answer[: min(next(self.cuts), len(answer) - 1)])
            await writer.drain()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            hub_writer.close()
            writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def between(hub_port: int, cuts: Iterator[int]) -> AsyncIterator[tuple[int, Proxy]]:
    """The port to send requests to; `cuts` says for each after how many bytes its answer is cut."""
    proxy = Proxy(hub_port, cuts)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], proxy
