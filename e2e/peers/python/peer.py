"""A connected client that records what it sees, and a proxy that can cut its connection."""

import asyncio
from urllib.parse import urlsplit

from pondsocket_client import ClientOptions, PondClient

DEADLINE = 5.0


async def until(what, probe, deadline=DEADLINE):
    """Waits for a condition; fails after the deadline."""
    end = asyncio.get_running_loop().time() + deadline
    while not (value := probe()):
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"{what}: not within {deadline} s")
        await asyncio.sleep(0.005)
    return value


def same(what, got, want):
    """Fails unless the two are equal."""
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


class Peer:
    """One client, and the channel it joined last."""

    def __init__(self, url, name, token="t"):
        self.name = name
        params = {"token": token} if token else {}
        self.client = PondClient(url, params, options=ClientOptions(base_reconnect_delay=0.1))
        self.errors = []
        self.client.on_error(self.errors.append)

    async def connect(self):
        """Connects."""
        await self.client.connect()
        return self

    def channel(self, room, params=None):
        """Makes a channel that records everything."""
        self.messages, self.joins, self.leaves, self.updates, self.states = [], [], [], [], []
        self.room = self.client.create_channel(room, {"username": self.name} if params is None else params)
        self.room.on_message(lambda event, payload: self.messages.append((event, payload)))
        self.room.on_join(self.joins.append)
        self.room.on_leave(self.leaves.append)
        self.room.on_presence_change(self.updates.append)
        self.room.on_channel_state_change(lambda state: self.states.append(str(getattr(state, "value", state)).upper()))
        return self.room

    @property
    def state(self):
        """The state of the channel, in capitals."""
        state = self.room.channel_state
        return str(getattr(state, "value", state)).upper()

    async def join(self, room, params=None):
        """Joins, and waits until it is in."""
        self.channel(room, params).join()
        await until(f"{self.name} joins", lambda: self.state == "JOINED")
        return self

    def of(self, event):
        """The payloads of one event."""
        return [payload for name, payload in self.messages if name == event]

    async def me(self):
        """The user id that the server gave us."""
        return (await self.room.send_for_response("state", {}))["self"]

    async def close(self):
        """Disconnects."""
        await self.client.disconnect()


class Proxy:
    """Bytes between a client and the server, which a check may cut."""

    def __init__(self, url):
        self.target = urlsplit(url)
        self.writers = set()

    async def start(self):
        """Listens; answers the URL to use in place of the server's."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        return self.target._replace(netloc=f"127.0.0.1:{port}").geturl()

    async def serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.writers |= {writer, up_writer}
        await asyncio.gather(self.pump(reader, up_writer), self.pump(up_reader, writer))

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        """Ends all connections at once, without a goodbye."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    def stop(self):
        """Stops listening."""
        self.cut()
        self.server.close()
