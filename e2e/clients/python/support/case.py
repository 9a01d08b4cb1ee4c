"""The base of every test: creates peers, and disconnects them when the test ends."""

from typing import Any
from unittest import IsolatedAsyncioTestCase

from .peer import Peer
from .proxy import Proxy
from .server import SERVER, chat_room


class PeerTest(IsolatedAsyncioTestCase):
    def peer(self, name: str, url: str = SERVER, params: dict[str, Any] | None = None) -> Peer:
        """A peer that has not connected yet."""
        peer = Peer(name, url, params)
        self.addAsyncCleanup(peer.client.disconnect)
        return peer

    async def connected(self, name: str, url: str = SERVER) -> Peer:
        peer = self.peer(name, url)
        await peer.connect()
        return peer

    async def joined(self, name: str, room: str, url: str = SERVER) -> Peer:
        peer = await self.connected(name, url)
        await peer.join(room)
        return peer

    async def joined_peers(self, *names: str) -> list[Peer]:
        """Peers in a new room, each of which has received the presence of all others."""
        room = chat_room()
        peers = [await self.joined(name, room) for name in names]
        for peer in peers:
            await peer.sees(*names)
        return peers

    async def proxy(self) -> Proxy:
        proxy = await Proxy().start()
        self.addAsyncCleanup(proxy.stop)
        return proxy
