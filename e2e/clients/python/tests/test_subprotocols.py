"""A token as a subprotocol, with the WebSocket library of the published client."""

import json
from unittest import IsolatedAsyncioTestCase
from urllib.parse import urlsplit

from support.server import SERVER
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

URL = f"ws://{urlsplit(SERVER).netloc}/api/token"


class Subprotocols(IsolatedAsyncioTestCase):
    async def test_token(self) -> None:
        """subprotocols: a client sends a token, and the server selects another value"""
        async with connect(URL, subprotocols=[Subprotocol("pond"), Subprotocol("token.abc")]) as socket:
            self.assertEqual(socket.subprotocol, "pond")
            messages = [json.loads(await socket.recv()) for _ in range(2)]
            self.assertEqual(messages[1]["payload"], {"user": "abc"})

    async def test_refused(self) -> None:
        """subprotocols: without a token it is refused"""
        with self.assertRaises(InvalidStatus) as refused:
            await connect(URL, subprotocols=[Subprotocol("pond")])
        self.assertEqual(refused.exception.response.status_code, 401)
