"""The published Python server as a node: the chat of the interop matrix, under uvicorn.

``REDIS_URL`` is the address of the bus, ``HEARTBEAT_TIMEOUT`` the seconds of silence after which another node is dead.
Prints ``listening PORT`` when it is ready.
"""

import os
import socket

import uvicorn
from pondsocket import ConnectionContext, JoinContext, Options, PondSocket
from pondsocket.distributed import RedisPubSub
from pondsocket_asgi import PondASGIApp
from redis.asyncio import Redis

import events


async def connect(ctx: ConnectionContext) -> None:
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    username = ctx.join_params["username"]
    await ctx.accept({"username": username})
    await ctx.track({"id": ctx.transport.get_id(), "username": username, "status": "online"})


def application() -> PondASGIApp:
    redis = RedisPubSub(Redis.from_url(os.environ["REDIS_URL"]), owns_client=True)
    options = Options(heartbeat_timeout=float(os.environ["HEARTBEAT_TIMEOUT"]))
    pond = PondSocket(options=options, pubsub=redis)
    events.register(pond.create_endpoint("/api/socket", connect).create_channel("/chat/:room", join))
    return PondASGIApp(pond)


def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening", listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(application(), log_level="warning")).run([listener])


if __name__ == "__main__":
    serve()
