"""Connecting, being refused, disconnecting."""

from pondsocket_common import ChannelState
from support.case import PeerTest
from support.server import chat_room
from support.wait import settle, until


class Connection(PeerTest):
    async def test_connects(self) -> None:
        """connection: the client becomes connected, without an error"""
        ann = await self.connected("ann")
        await settle()
        self.assertTrue(ann.is_connected())
        self.assertEqual(ann.errors, [])

    async def test_refused(self) -> None:
        """connection: a client without a token is refused with 401 and reports the error"""
        ann = self.peer("ann", params={"other": "t"})
        await ann.client.connect()
        await until("an error is reported", lambda: ann.errors)
        self.assertEqual(ann.errors[0].response.status_code, 401)
        self.assertIn(b"token required", ann.errors[0].response.body)
        self.assertFalse(ann.is_connected())

    async def test_join_before_connection_is_read(self) -> None:
        """connection: a join sent before CONNECTION was read takes effect"""
        ann = self.peer("ann")
        channel = ann.choose(chat_room())
        channel.join()
        # connect() returns when the upgrade is done, before anything is read.
        await ann.client.connect()
        await ann.reaches(ChannelState.JOINED)
        self.assertEqual(ann.errors, [])

    async def test_disconnect(self) -> None:
        """connection: after disconnect() the user is no member of its channel"""
        ann, bob = await self.joined_peers("ann", "bob")
        await bob.client.disconnect()
        await ann.sees("ann")
        self.assertEqual([presence["username"] for presence in ann.leaves], ["bob"])
