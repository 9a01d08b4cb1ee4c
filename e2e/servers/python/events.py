"""The events of the chat: those of the contract server that the matrix needs."""

from pondsocket import EventContext, Lobby


def register(lobby: Lobby) -> None:
    for handler in (message, typing, private, status, untrack, assign, evict, remove, state):
        lobby.on_message(handler.__name__, handler)


async def message(ctx: EventContext) -> None:
    await ctx.broadcast("message", ctx.get_payload())


async def typing(ctx: EventContext) -> None:
    await ctx.broadcast_from("typing", ctx.get_payload())


async def private(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.broadcast_to("private", {"from": ctx.user.id, "text": payload["text"]}, payload["to"])


async def status(ctx: EventContext) -> None:
    presence = (await ctx.get_all_presence())[ctx.user.id]
    await ctx.update_presence({**presence, "status": ctx.get_payload()["status"]})


async def untrack(ctx: EventContext) -> None:
    await ctx.untrack()


async def assign(ctx: EventContext) -> None:
    """Sets an assign of the user ``userId``, or of the sender."""
    payload = ctx.get_payload()
    await ctx.channel.update_assign(payload.get("userId", ctx.user.id), payload["key"], payload["value"])


async def evict(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.evict(payload["reason"], payload["userId"])


async def remove(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.channel.remove_user(payload["userId"], payload["reason"])


async def state(ctx: EventContext) -> None:
    presence, assigns = await ctx.get_all_presence(), await ctx.get_all_assigns()
    await ctx.reply("state", {"self": ctx.user.id, "presence": presence, "assigns": assigns})
