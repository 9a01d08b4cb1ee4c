"""What the published Python client must see: `scenario.py ws://127.0.0.1:PORT/api/socket`."""

import asyncio
import itertools
import os
import sys

from peer import Peer, Proxy, same, until

URL = sys.argv[1]
CHECKS = []
rooms = itertools.count(1)


def check(run):
    """Registers a check; its docstring is its name."""
    CHECKS.append(run)
    return run


def room(pattern="chat"):
    """A channel name that nobody else uses."""
    return f"/{pattern}/py{os.getpid()}_{next(rooms)}"


async def party(stack, *names, pattern="chat"):
    """Several clients in one fresh room, each of which has seen all the others."""
    name = room(pattern)
    peers = [await (await stack.peer(each)).join(name) for each in names]
    if pattern == "chat":
        await until("all see each other", lambda: all(len(peer.room.presence) == len(names) for peer in peers))
    return name, peers


class Stack:
    """Clients and proxies of one check, closed behind it."""

    def __init__(self):
        self.peers, self.proxies = [], []

    async def peer(self, name, url=URL):
        peer = await Peer(url, name).connect()
        self.peers.append(peer)
        return peer

    async def proxy(self):
        proxy = Proxy(URL)
        self.proxies.append(proxy)
        return proxy, await proxy.start()

    async def close(self):
        for peer in self.peers:
            await peer.close()
        for proxy in self.proxies:
            proxy.stop()


@check
async def joins(stack):
    """join: acknowledged, JOINING then JOINED"""
    ann = await (await stack.peer("ann")).join(room())
    same("states", [state for state in ann.states if state != "IDLE"], ["JOINING", "JOINED"])


@check
async def joins_before_the_first_frame_is_read(stack):
    """join: asked for before the connection is up"""
    peer = Peer(URL, "ann")
    stack.peers.append(peer)
    peer.channel(room()).join()
    await peer.connect()
    await until("joined", lambda: peer.state == "JOINED")


@check
async def declined(stack):
    """join: declined by the handler"""
    ann = await stack.peer("ann")
    ann.channel(room(), {}).join()
    await until("DECLINED", lambda: ann.state == "DECLINED")


@check
async def unknown_channel(stack):
    """join: an unknown channel is declined, the connection stays usable"""
    ann = await stack.peer("ann")
    ann.channel("/nowhere/1").join()
    await until("DECLINED", lambda: ann.state == "DECLINED")
    await ann.join(room())


@check
async def presence_list(stack):
    """presence: the joiner gets the list, the others the JOIN"""
    _, (ann, bob) = await party(stack, "ann", "bob")
    same("list of bob", sorted(entry["username"] for entry in bob.room.presence), ["ann", "bob"])
    await until("JOIN of bob", lambda: [entry for entry in ann.joins if entry["username"] == "bob"])


@check
async def presence_update(stack):
    """presence: an update reaches the others with the new value"""
    _, (ann, bob) = await party(stack, "ann", "bob")
    bob.room.send_message("status", {"status": "away"})
    await until("UPDATE", lambda: ann.updates)
    await until("list", lambda: sorted(entry["status"] for entry in ann.room.presence) == ["away", "online"])


@check
async def presence_leave(stack):
    """presence: leave and disconnect give LEAVE"""
    _, (ann, bob, cat) = await party(stack, "ann", "bob", "cat")
    bob.room.leave()
    await until("LEAVE of bob", lambda: [entry for entry in ann.leaves if entry["username"] == "bob"])
    await cat.close()
    await until("LEAVE of cat", lambda: [entry for entry in ann.leaves if entry["username"] == "cat"])
    same("list", [entry["username"] for entry in ann.room.presence], ["ann"])


@check
async def broadcast(stack):
    """message: to all, to all but the sender, to one"""
    _, (ann, bob, cat) = await party(stack, "ann", "bob", "cat")
    ann.room.send_message("message", {"text": "hi"})
    ann.room.send_message("typing", {"on": True})
    ann.room.send_message("private", {"to": await bob.me(), "text": "psst"})
    await until("bob has all", lambda: len(bob.messages) == 4)
    same("bob", [event for event, _ in bob.messages if event != "state" and event != "ACKNOWLEDGE"][:3],
         ["message", "typing", "private"])
    await until("cat has hers", lambda: cat.of("typing"))
    same("private", (bob.of("private")[0]["text"], cat.of("private")), ("psst", []))
    same("typing", [len(peer.of("typing")) for peer in (ann, bob, cat)], [0, 1, 1])


@check
async def order(stack):
    """message: 200 arrive once each, in order, at everybody"""
    _, peers = await party(stack, "ann", "bob", pattern="plain")
    for number in range(200):
        peers[0].room.send_message("message", {"n": number})
    for peer in peers:
        await until(f"{peer.name} has 200", lambda peer=peer: len(peer.of("message")) >= 200)
        same(peer.name, [payload["n"] for payload in peer.of("message")], list(range(200)))


@check
async def replies(stack):
    """reply: each request gets its own"""
    ann = await (await stack.peer("ann")).join(room())
    answers = await asyncio.gather(*(ann.room.send_for_response("echo", {"n": n}) for n in range(20)))
    same("answers", [answer["n"] for answer in answers], list(range(20)))


@check
async def failing_handler(stack):
    """reply: an error of the handler, a panic and a missing handler are answered"""
    ann = await (await stack.peer("ann")).join(room())
    codes = [(await ann.room.send_for_response(event, {}))["code"] for event in ("fail", "panic", "no-such-event")]
    same("codes", codes, [422, 500, 404])


@check
async def large(stack):
    """message: 256 KiB and all of Unicode come back as sent"""
    ann = await (await stack.peer("ann")).join(room())
    payload = {"text": "é日本語👩‍👩‍👧‍👦\u0000\u2028\\\"" * 8192}
    same("payload", await ann.room.send_for_response("echo", payload) == payload, True)


@check
async def evict(stack):
    """evict: told so, gone from the list, gets nothing more"""
    _, (ann, bob) = await party(stack, "ann", "bob")
    ann.room.send_message("evict", {"userId": await bob.me(), "reason": "spam"})
    await until("LEAVE", lambda: [entry for entry in ann.leaves if entry["username"] == "bob"])
    await until("bob is told", lambda: bob.of("evicted") and bob.of("EVICTED"))
    same("reason", bob.of("evicted")[0]["reason"], "spam")
    ann.room.send_message("message", {"n": 1})
    await until("ann", lambda: ann.of("message"))
    same("bob", bob.of("message"), [])


@check
async def leave_and_rejoin(stack):
    """leave: the same client can join again"""
    name, (ann, bob) = await party(stack, "ann", "bob")
    bob.room.leave()
    await until("LEAVE", lambda: ann.leaves)
    await bob.join(name)
    ann.room.send_message("message", {"n": 2})
    await until("bob", lambda: bob.of("message"))


@check
async def reconnect(stack):
    """reconnect: after a cut, STALLED then JOINED, messages flow both ways"""
    proxy, url = await stack.proxy()
    name = room()
    ann = await (await stack.peer("ann")).join(name)
    bob = await (await stack.peer("bob", url)).join(name)
    await until("both", lambda: len(ann.room.presence) == 2)
    proxy.cut()
    await until("STALLED", lambda: "STALLED" in bob.states)
    await until("JOINED again", lambda: bob.state == "JOINED", 15)
    await until("list of two", lambda: len(ann.room.presence) == 2 and len(bob.room.presence) == 2)
    ann.room.send_message("message", {"n": 1})
    bob.room.send_message("message", {"n": 2})
    await until("both ways", lambda: all(len(peer.of("message")) == 2 for peer in (ann, bob)))


@check
async def no_token(_stack):
    """connect: declined without a token"""
    peer = Peer(URL, "ann", token=None)
    try:
        await asyncio.wait_for(peer.connect(), 3)
    except Exception:  # whatever the client makes of the refusal
        pass
    same("state", str(getattr(peer.client.get_state(), "value", "")).upper() == "CONNECTED", False)
    await peer.close()


async def main():
    """Runs all checks, one after the other."""
    failed = 0
    for run in CHECKS:
        stack = Stack()
        try:
            await asyncio.wait_for(run(stack), 30)
            faults = [error for peer in stack.peers for error in peer.errors if "alid" in repr(error)]
            same("frames that the client rejects", faults, [])
            print(f"ok   {run.__doc__}")
        except Exception as error:  # a check may fail in any way
            failed += 1
            print(f"FAIL {run.__doc__}: {error!r}")
        await stack.close()
    print(f"{len(CHECKS) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
