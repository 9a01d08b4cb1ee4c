"""Messages between members, and requests with their replies."""

import asyncio

from support.case import PeerTest
from support.server import chat_room
from support.wait import settle


class Messages(PeerTest):
    async def test_both_ways(self) -> None:
        """message: each message reaches all members once"""
        ann, bob = await self.joined_peers("ann", "bob")
        ann.send("message", {"of": "ann"})
        await bob.receives("message")
        bob.send("message", {"of": "bob"})
        await asyncio.gather(*(peer.receives("message", 2) for peer in (ann, bob)))
        await settle()
        for peer in (ann, bob):
            self.assertEqual(peer.received("message"), [{"of": "ann"}, {"of": "bob"}])

    async def test_order(self) -> None:
        """message: 200 messages arrive once each, in order"""
        ann, bob = await self.joined_peers("ann", "bob")
        for n in range(200):
            ann.send("message", {"n": n})
        for peer in (ann, bob):
            await peer.receives("message", 200)
            self.assertEqual([message["n"] for message in peer.received("message")], list(range(200)))

    async def test_typing(self) -> None:
        """message: a broadcast to others does not reach the sender"""
        ann, bob = await self.joined_peers("ann", "bob")
        ann.send("typing", {"on": True})
        await bob.receives("typing")
        await settle()
        self.assertEqual((ann.received("typing"), bob.received("typing")), ([], [{"on": True}]))

    async def test_private(self) -> None:
        """message: a private message reaches only its recipient"""
        ann, bob, cat = await self.joined_peers("ann", "bob", "cat")
        ann.send("private", {"to": await bob.user_id(), "text": "psst"})
        await bob.receives("private")
        await settle()
        self.assertEqual(bob.received("private"), [{"from": await ann.user_id(), "text": "psst"}])
        self.assertEqual((ann.received("private"), cat.received("private")), ([], []))

    async def test_unicode_and_size(self) -> None:
        """message: unicode and 256 KiB arrive as sent"""
        ann, bob = await self.joined_peers("ann", "bob")
        payload = {"text": 'é 日本語 👩\u200d👩\u200d👧 \u0000 \u2028 " \\ \n', "long": "é€x" * (256 * 1024 // 6)}
        ann.send("message", payload)
        await bob.receives("message")
        self.assertEqual(bob.received("message"), [payload])

    async def test_replies(self) -> None:
        """reply: each of 50 concurrent requests gets its own reply, and no other user does"""
        ann, bob = await self.joined_peers("ann", "bob")
        requests = [{"n": n} for n in range(50)]
        self.assertEqual(await asyncio.gather(*(ann.ask("echo", request) for request in requests)), requests)
        await settle()
        self.assertEqual((ann.received("echo"), bob.received("echo")), ([], []))

    async def test_errors(self) -> None:
        """reply: an error of the handler, a panic and a missing handler each resolve the request"""
        ann = await self.joined("ann", chat_room())
        for event, code in (("fail", 422), ("panic", 500), ("no-such-event", 404)):
            self.assertEqual((await ann.ask(event, {}))["code"], code)
        self.assertEqual(await ann.ask("echo", {"n": 1}), {"n": 1})
        self.assertEqual(ann.errors, [])

    async def test_slow(self) -> None:
        """reply: a slow reply does not delay other members"""
        ann, bob = await self.joined_peers("ann", "bob")
        slow = asyncio.create_task(ann.ask("slow", {"ms": 1000}))
        self.assertEqual(await bob.ask("echo", {"n": 1}), {"n": 1})
        self.assertFalse(slow.done())
        await slow
