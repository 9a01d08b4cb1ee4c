"""Joins, leaves and evictions."""

from pondsocket_common import ChannelState
from support.case import PeerTest
from support.server import chat_room


class Join(PeerTest):
    async def test_joins(self) -> None:
        """join: JOINING, then JOINED"""
        ann = await self.joined("ann", chat_room())
        changes = [state for state in ann.states if state != ChannelState.IDLE]
        self.assertEqual(changes, [ChannelState.JOINING, ChannelState.JOINED])

    async def test_declined(self) -> None:
        """join: the handler's decline makes the channel DECLINED"""
        ann = await self.connected("ann")
        ann.choose(chat_room(), params={}).join()
        await ann.reaches(ChannelState.DECLINED)

    async def test_unreadable_parameters(self) -> None:
        """join: parameters that are no valid JSON make the channel DECLINED"""
        ann = await self.connected("ann")
        for params in ({"n": float("nan")}, {"n": float("inf")}, {"name": "x\ud800"}):
            ann.choose(chat_room(), params=params).join()
            await ann.reaches(ChannelState.DECLINED)
        await ann.join(chat_room())

    async def test_unknown_channel(self) -> None:
        """join: a channel that no pattern matches becomes DECLINED, the connection stays usable"""
        ann = await self.connected("ann")
        ann.choose("/nowhere/1").join()
        await ann.reaches(ChannelState.DECLINED)
        await ann.join(chat_room())
        self.assertEqual(ann.errors, [])

    async def test_leave_and_join_again(self) -> None:
        """join: a user that has left can join again"""
        room = chat_room()
        ann, bob = await self.joined("ann", room), await self.joined("bob", room)
        for _ in range(3):
            bob.channel.leave()
            self.assertEqual(bob.channel.channel_state, ChannelState.CLOSED)
            await ann.sees("ann")
            await bob.join(room)
            await ann.sees("ann", "bob")
        ann.send("message", {"n": 1})
        await bob.receives("message")

    async def test_evicted(self) -> None:
        """join: an evicted user is notified, has no presence, receives nothing more and cannot send"""
        ann, bob = await self.joined_peers("ann", "bob")
        user_id = await bob.user_id()
        ann.send("evict", {"userId": user_id, "reason": "spam"})
        await ann.sees("ann")
        await bob.receives("EVICTED")
        self.assertEqual(bob.received("evicted"), [{"reason": "spam", "userId": user_id}])
        self.assertEqual(ann.received("user_evicted"), [{"reason": "spam", "userId": user_id}])
        bob.send("message", {"of": "bob"})
        await bob.receives("INTERNAL_ERROR")
        ann.send("message", {"of": "ann"})
        await ann.receives("message")
        self.assertEqual(ann.received("message"), [{"of": "ann"}])
        self.assertEqual(bob.received("message"), [])
