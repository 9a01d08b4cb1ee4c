"""A client that resumes: what it misses while it is away is replayed, once and in order."""

from typing import Any

from pondsocket_common import ChannelState
from support.case import PeerTest
from support.proxy import Proxy
from support.server import history_room
from support.wait import until


class Resuming:
    """A user that resumes with a new client after each cut, because a client joins again with its first parameters."""

    def __init__(self, test: PeerTest, name: str, room: str, proxy: Proxy) -> None:
        self.test, self.name, self.room, self.proxy = test, name, room, proxy
        self.position = ""
        self.log: list[int] = []

    async def join(self) -> None:
        self.peer = self.test.peer(self.name, self.proxy.url)
        channel = self.peer.choose(self.room, {"username": self.name, "$resume": self.position})
        channel.on_message(self.received)
        await self.peer.connect()
        channel.join()
        await self.peer.reaches(ChannelState.JOINED)

    def received(self, message: Any) -> None:
        if message.event == "message":
            self.position = message.request_id
            self.log.append(message.payload["n"])

    async def lose(self) -> None:
        self.proxy.cut()
        await self.peer.reaches(ChannelState.STALLED)
        await self.peer.client.disconnect()


class Resume(PeerTest):
    async def test_resume(self) -> None:
        """resume: a client that names the request id of its last message gets what it missed, once and in order"""
        room = history_room()
        ann = await self.joined("ann", room)
        bob = Resuming(self, "bob", room, await self.proxy())
        await bob.join()
        for cut in range(5):
            first = cut * 40
            for n in range(first, first + 20):
                ann.send("message", {"n": n})
            await until(f"bob receives {first}", lambda: first in bob.log)
            # Perhaps in the middle of the twenty.
            await bob.lose()
            for n in range(first + 20, first + 40):
                ann.send("message", {"n": n})
            await ann.receives("message", first + 40)
            await bob.join()
        await until("bob receives the last one", lambda: 199 in bob.log)
        self.assertEqual(bob.log, list(range(200)))

    async def test_repeats(self) -> None:
        """resume: a client that stays as it is gets the last messages again, and can drop repeats by request id"""
        proxy, room = await self.proxy(), history_room()
        ann = await self.joined("ann", room)
        bob = self.peer("bob", proxy.url)
        received: dict[str, int] = {}
        channel = bob.choose(room, {"username": "bob", "last": 20})
        channel.on_message(
            lambda message: message.event == "message" and received.setdefault(message.request_id, message.payload["n"])
        )
        await bob.connect()
        channel.join()
        await bob.reaches(ChannelState.JOINED)
        for n in range(10):
            ann.send("message", {"n": n})
        await until("bob receives ten", lambda: len(received) == 10)
        proxy.cut()
        await bob.reaches(ChannelState.STALLED)
        for n in range(10, 20):
            ann.send("message", {"n": n})
        await until("bob receives twenty", lambda: len(received) == 20)
        self.assertEqual(list(received.values()), list(range(20)))
