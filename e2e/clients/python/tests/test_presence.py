"""The presence list and its changes."""

from support.case import PeerTest
from support.server import plain_room
from support.wait import settle, until


class Presence(PeerTest):
    async def test_join(self) -> None:
        """presence: every member gets the JOIN and the whole list"""
        ann, bob = await self.joined_peers("ann", "bob")
        self.assertEqual([presence["username"] for presence in ann.joins], ["ann", "bob"])
        self.assertEqual([presence["username"] for presence in bob.joins], ["bob"])

    async def test_update(self) -> None:
        """presence: an update reaches all members and changes only its key"""
        ann, bob = await self.joined_peers("ann", "bob")
        bob.send("status", {"status": "away"})
        expected = {"id": await bob.user_id(), "username": "bob", "status": "away"}
        for peer in (ann, bob):
            await until("the update", lambda: expected in peer.updates)
            self.assertIn(expected, peer.channel.presence)

    async def test_untrack(self) -> None:
        """presence: untrack gives LEAVE, the user stays a member"""
        ann, bob = await self.joined_peers("ann", "bob")
        bob.send("untrack", {})
        await ann.sees("ann")
        ann.send("message", {"n": 1})
        await bob.receives("message")

    async def test_leave(self) -> None:
        """presence: leave() gives LEAVE to the others"""
        ann, bob = await self.joined_peers("ann", "bob")
        bob.channel.leave()
        await ann.sees("ann")
        self.assertEqual([presence["username"] for presence in ann.leaves], ["bob"])

    async def test_channel_without_presence(self) -> None:
        """presence: a channel without presence sends no presence messages"""
        room = plain_room()
        ann, bob = await self.joined("ann", room), await self.joined("bob", room)
        ann.send("message", {"n": 1})
        await bob.receives("message")
        await settle()
        self.assertEqual((ann.joins, bob.joins, ann.channel.presence), ([], [], []))
