"""Reconnection of the client."""

from pondsocket_common import ChannelState
from support.case import PeerTest
from support.server import chat_room


class Reconnect(PeerTest):
    async def test_cut_connection(self) -> None:
        """reconnect: after a cut connection the client joins again, and messages flow both ways"""
        proxy, room = await self.proxy(), chat_room()
        ann = await self.joined("ann", room)
        bob = await self.joined("bob", room, proxy.url)
        await ann.sees("ann", "bob")
        before = await bob.user_id()

        proxy.cut()
        await bob.reaches(ChannelState.STALLED)
        await bob.reaches(ChannelState.JOINED)
        await ann.sees("ann", "bob")
        await bob.sees("ann", "bob")
        self.assertNotEqual(await bob.user_id(), before)

        ann.send("message", {"of": "ann"})
        await bob.receives("message")
        bob.send("message", {"of": "bob"})
        for peer in (ann, bob):
            await peer.receives("message", 2)
            self.assertEqual(peer.received("message"), [{"of": "ann"}, {"of": "bob"}])
        self.assertEqual([presence["username"] for presence in ann.leaves], ["bob"])

    async def test_queue(self) -> None:
        """reconnect: messages sent while STALLED are delivered after the rejoin, in order"""
        proxy, room = await self.proxy(), chat_room()
        ann = await self.joined("ann", room)
        bob = await self.joined("bob", room, proxy.url)
        proxy.cut()
        await bob.reaches(ChannelState.STALLED)
        for n in range(10):
            bob.send("message", {"n": n})
        await ann.receives("message", 10)
        self.assertEqual([message["n"] for message in ann.received("message")], list(range(10)))
