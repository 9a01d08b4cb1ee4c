"""One user of the published client: a connection, a channel, and a record of the reports of the channel."""

from typing import Any

from pondsocket_client import Channel, ConnectionState, PondClient
from pondsocket_common import ChannelState

from .server import SERVER
from .wait import until


class Peer:
    def __init__(self, name: str, url: str = SERVER, params: dict[str, Any] | None = None) -> None:
        self.name = name
        self.errors: list[BaseException] = []
        self.client = PondClient(url, {"token": "t"} if params is None else params)
        self.client.on_error(self.errors.append)

    def is_connected(self) -> bool:
        return self.client.get_state() == ConnectionState.CONNECTED

    async def connect(self) -> None:
        await self.client.connect()
        await until(f"{self.name} connects", self.is_connected)

    def choose(self, room: str, params: dict[str, Any] | None = None) -> Channel:
        """Makes `room` the channel of this peer, without joining it."""
        self.channel = self.client.create_channel(room, {"username": self.name} if params is None else params)
        self.states: list[ChannelState] = []
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.joins: list[dict[str, Any]] = []
        self.leaves: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.channel.on_channel_state_change(self.states.append)
        self.channel.on_message(lambda message: self.messages.append((message.event, message.payload)))
        self.channel.on_join(self.joins.append)
        self.channel.on_leave(self.leaves.append)
        self.channel.on_presence_change(lambda change: self.updates.append(change.changed))
        return self.channel

    async def join(self, room: str) -> None:
        self.choose(room).join()
        await self.reaches(ChannelState.JOINED)

    async def reaches(self, state: ChannelState) -> None:
        await until(f"{self.name} is {state}", lambda: self.channel.channel_state == state)

    def send(self, event: str, payload: dict[str, Any]) -> None:
        self.channel.send_message(event, payload)

    async def ask(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        return await self.channel.send_for_response(event, payload)

    async def user_id(self) -> str:
        return (await self.ask("state", {}))["self"]

    def received(self, event: str) -> list[dict[str, Any]]:
        """The payloads received under one event name."""
        return [payload for name, payload in self.messages if name == event]

    async def receives(self, event: str, count: int = 1) -> None:
        await until(f"{self.name} receives {count} {event}", lambda: len(self.received(event)) >= count)

    def present(self) -> list[str]:
        """The user names in the client's presence list, sorted."""
        return sorted(presence["username"] for presence in self.channel.presence)

    async def sees(self, *names: str) -> None:
        await until(f"{self.name} sees {names}", lambda: self.present() == sorted(names))
