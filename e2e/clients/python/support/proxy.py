"""A TCP proxy in front of the server. A test can cut its connections."""

import asyncio
from urllib.parse import urlsplit

from .server import SERVER


class Proxy:
    async def start(self) -> "Proxy":
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = urlsplit(SERVER)._replace(netloc=f"127.0.0.1:{port}").geturl()
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = urlsplit(SERVER)
        upstream = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(self._copy(reader, upstream[1]), self._copy(upstream[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(64 * 1024):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the connection was cut by the test
        finally:
            self._writers.discard(writer)
            writer.close()

    def cut(self) -> None:
        """Resets every connection, as a network failure does."""
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        self._listener.close()
        self.cut()
