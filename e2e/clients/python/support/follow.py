"""Follows rooms with published clients that have sessions, and prints what each of them receives, one JSON object in a line. The
clients are one JSON array on the standard input:

    [{"name": "ada", "url": "ws://127.0.0.1:8080/api/socket", "room": "/history/1", "session": "..."}, ...]
"""

import asyncio
import json
import sys
from typing import Any

from pondsocket_client import ConnectionState, PondClient
from pondsocket_common import ChannelState

# The client tries to connect once, after a second. Later than this it is told to.
GIVEN_UP = 4.0


class Follower:
    def __init__(self, name: str, url: str, room: str, session: str, **_: object) -> None:
        self.name = name
        self.client = PondClient(url, {"token": "t", "session": session})
        channel = self.client.create_channel(room, {"username": name})
        channel.on_channel_state_change(self.changed)
        channel.on_message(self.received)
        channel.on_join(lambda who: self.report(presence="JOIN", who=who["username"]))
        channel.on_leave(lambda who: self.report(presence="LEAVE", who=who["username"]))
        channel.join()

    def report(self, **line: Any) -> None:
        print(json.dumps({"client": self.name, **line}), flush=True)

    def changed(self, state: ChannelState) -> None:
        if state == ChannelState.STALLED:
            self.report(lost=True)

    def received(self, message: Any) -> None:
        if "n" in message.payload:
            self.report(n=message.payload["n"], position=message.payload.get("_pos"))
        elif message.event == "history":
            self.report(**message.payload)

    async def follow(self) -> None:
        away = 0.0
        await self.client.connect()
        while True:
            await asyncio.sleep(0.5)
            away = 0.0 if self.client.get_state() == ConnectionState.CONNECTED else away + 0.5
            if away >= GIVEN_UP:
                self.report(again=True)
                await self.client.connect()
                away = 0.0


async def main() -> None:
    await asyncio.gather(*(Follower(**client).follow() for client in json.load(sys.stdin)))


asyncio.run(main())
