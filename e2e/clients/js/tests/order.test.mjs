// The order in which frames arrive. RawSocket itself checks that nothing of a channel precedes its ACKNOWLEDGE or
// follows its end.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { joinedPeers } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom, plainRoom } from '../support/server.mjs';
import { until } from '../support/wait.mjs';

const range = (length) => Array.from({ length }, (_, n) => n);

/** A member that broadcasts numbers into `room` until it is stopped. */
async function startSender (t, room, name) {
    const socket = await RawSocket.joined(t, room, name);
    let n = 0;
    const burst = () => { for (let k = 0; k < 5; k++) socket.event('message', room, { name, n: n++ }); };
    const timer = setInterval(burst, 10);
    const stop = () => clearInterval(timer);
    t.after(stop);
    return { name, stop, last: () => n - 1 };
}

/** The numbers that `socket` has received from `name`. */
function numbersOf (socket, name) {
    const payloads = socket.of('message').map((frame) => frame.payload);
    return payloads.filter((payload) => payload.name === name).map((payload) => payload.n);
}

test('order: 1000 broadcasts of one member arrive once each, in order, at all members', async (t) => {
    const room = plainRoom();
    const [sender, other] = [await RawSocket.joined(t, room), await RawSocket.joined(t, room)];
    for (const n of range(1000)) sender.event('message', room, { n });
    for (const socket of [sender, other]) {
        await socket.receives('message', 1000);
        assert.deepEqual(socket.of('message').map((frame) => frame.payload.n), range(1000));
    }
});

test('order: 200 messages through the published client arrive once each, in order', async (t) => {
    const peers = await joinedPeers(t, 'ann', 'bob');
    for (const n of range(200)) peers[0].send('message', { n });
    for (const peer of peers) {
        await peer.receives('message', 200);
        assert.deepEqual(peer.received('message').map(({ n }) => n), range(200));
    }
});

test('order: all members see the broadcasts of four senders in one order', async (t) => {
    const room = plainRoom();
    const sockets = await Promise.all(range(4).map(() => RawSocket.joined(t, room)));
    for (const n of range(200)) sockets.forEach((socket, sender) => socket.event('message', room, { sender, n }));
    await Promise.all(sockets.map((socket) => socket.receives('message', 800)));
    const [first, ...rest] = sockets.map((socket) => socket.of('message').map(({ payload }) => `${payload.sender}:${payload.n}`));
    for (const order of rest) assert.deepEqual(order, first);
    for (const sender of range(4)) {
        assert.deepEqual(first.filter((entry) => entry.startsWith(`${sender}:`)), range(200).map((n) => `${sender}:${n}`));
    }
});

test('order: replies, broadcasts and presence arrive in the order of their requests', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    for (const n of range(30)) {
        socket.event('echo', room, { n });
        socket.event('message', room, { n });
        socket.event('status', room, { status: `s${n}` });
    }
    await socket.receives('UPDATE', 30);
    const events = socket.frames.map((frame) => frame.event).filter((event) => ['echo', 'message', 'UPDATE'].includes(event));
    assert.deepEqual(events, range(30).flatMap(() => ['echo', 'message', 'UPDATE']));
});

for (const [kind, newRoom] of [['with presence', chatRoom], ['without presence', plainRoom]]) {
    test(`order: under load, 15 joiners (${kind}) receive the ACK first and then an unbroken sequence`, async (t) => {
        const room = newRoom();
        const senders = [await startSender(t, room, 'ann'), await startSender(t, room, 'bob')];
        const joiners = [];
        for (const n of range(15)) joiners.push(await RawSocket.joined(t, room, `joiner-${n}`));
        await joiners.at(-1).receives('message', 100);
        senders.forEach((one) => one.stop());
        for (const joiner of joiners) {
            for (const { name, last } of senders) {
                await until(`the last number of ${name}`, () => numbersOf(joiner, name).at(-1) === last());
                const [first] = numbersOf(joiner, name);
                assert.deepEqual(numbersOf(joiner, name), range(last() - first + 1).map((n) => first + n));
            }
        }
    });
}

test('order: under load, the first presence message of a joiner is its own JOIN', async (t) => {
    const room = chatRoom();
    await startSender(t, room, 'ann');
    for (const n of range(10)) {
        const joiner = await RawSocket.joined(t, room, `joiner-${n}`);
        await joiner.receives('JOIN');
        const own = joiner.frames.filter((frame) => frame.channelName === room);
        assert.equal(own[0].event, 'ACKNOWLEDGE');
        const { event, payload } = own.find((frame) => frame.action === 'PRESENCE');
        assert.deepEqual([event, payload.changed.username], ['JOIN', `joiner-${n}`]);
        assert.ok(payload.presence.some((presence) => presence.username === `joiner-${n}`));
        assert.ok(payload.presence.some((presence) => presence.username === 'ann'));
    }
});

test('order: under load, frames stay in order while a member leaves and rejoins', async (t) => {
    const room = plainRoom();
    await startSender(t, room, 'ann');
    const socket = await RawSocket.joined(t, room);
    for (let round = 0; round < 30; round++) {
        await socket.answered(socket.leave(room), 'EXIT_ACKNOWLEDGE');
        await socket.answered(socket.join(room, { username: 'raw' }), 'ACKNOWLEDGE');
    }
    await socket.receives('message', socket.of('message').length + 50);
});
