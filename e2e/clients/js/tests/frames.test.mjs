// Below the messages: pings, fragments, binary frames and the size limit.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { joinedPeers, Peer } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

const LIMIT = 1024 * 1024;

/** A message of exactly `size` bytes to an event that has no handler, so that the answer is short. */
function messageOf (size, room) {
    const message = { action: 'BROADCAST', event: 'big', channelName: room, requestId: 'big', payload: { text: '' } };
    message.payload.text = 'x'.repeat(size - JSON.stringify(message).length);
    return message;
}

test('ping: answered at once, with its data, while a handler is busy', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const slow = socket.event('slow', room, { ms: 1000 });
    for (const data of ['', 'one', 'x'.repeat(125)]) {
        const pong = once(socket.ws, 'pong', { signal: AbortSignal.timeout(10000) });
        socket.ws.ping(data);
        assert.equal(String((await pong)[0]), data);
        assert.equal(socket.of('slow').length, 0);
    }
    await socket.answered(slow, 'slow');
});

test('fragments: a message of 64 KiB in fragments, with pings between them, is reassembled', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const text = 'é€'.repeat(13108);
    const message = { action: 'BROADCAST', event: 'echo', channelName: room, requestId: 'pieces', payload: { text } };
    const bytes = Buffer.from(JSON.stringify(message));
    const pong = once(socket.ws, 'pong', { signal: AbortSignal.timeout(10000) });
    for (let at = 0; at < bytes.length; at += 1000) {
        // Pieces of 1000 bytes end inside characters; ws sends all but the first one as continuations.
        socket.ws.send(bytes.subarray(at, at + 1000), { binary: false, fin: at + 1000 >= bytes.length });
        if (at === 3000) socket.ws.ping('between');
    }
    const { payload } = await socket.answered('pieces');
    assert.ok(payload.text === text);
    assert.equal(String((await pong)[0]), 'between');
});

test('fragments: a message with one byte in each frame is reassembled', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const message = { action: 'BROADCAST', event: 'echo', channelName: room, requestId: 'bytes', payload: { é: '€' } };
    const bytes = Buffer.from(JSON.stringify(message));
    bytes.forEach((_, at) => socket.ws.send(bytes.subarray(at, at + 1), { binary: false, fin: at + 1 === bytes.length }));
    assert.deepEqual((await socket.answered('bytes')).payload, { é: '€' });
});

for (const perMessageDeflate of [false, true, { serverNoContextTakeover: true, clientNoContextTakeover: true }]) {
    test(`compression: a client that offers ${JSON.stringify(perMessageDeflate)} is served`, async (t) => {
        const socket = await RawSocket.open(t, { perMessageDeflate });
        const room = chatRoom();
        await socket.isUsable(room);
        const text = 'compress me '.repeat(5000);
        const { payload } = await socket.answered(socket.event('echo', room, { text }), 'echo');
        assert.ok(payload.text === text);
    });
}

test('binary: a message in a binary frame is read or refused, and the connection stays usable', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const before = socket.frames.length;
    const message = { action: 'BROADCAST', event: 'echo', channelName: room, requestId: 'binary', payload: { n: 1 } };
    socket.ws.send(Buffer.from(JSON.stringify(message)), { binary: true });
    socket.ws.send(Buffer.from([0xff, 0xfe, 0x00, 0x80]), { binary: true });
    await socket.receives('INTERNAL_ERROR');
    assert.ok(socket.frames.length > before);
    await socket.isUsable(chatRoom());
});

test('limit: a message of exactly 1 MiB is read', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const message = messageOf(LIMIT, room);
    socket.sendText(JSON.stringify(message), message);
    await socket.answered('big', 'NOT_FOUND');
});

test('limit: one byte more closes the connection with 1009 and affects no other', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    const socket = await RawSocket.open(t);
    socket.sendText(JSON.stringify(messageOf(LIMIT + 1, '/chat/x')));
    assert.equal(await socket.closed(), 1009);
    ann.send('message', { n: 1 });
    await bob.receives('message');
});

test('limit: fragments that grow over 1 MiB close the connection with 1009', async (t) => {
    const socket = await RawSocket.open(t);
    await socket.receives('CONNECTION');
    const piece = Buffer.alloc(64 * 1024, 'x');
    for (let sent = 0; sent <= LIMIT; sent += piece.length) socket.ws.send(piece, { binary: false, fin: false });
    assert.equal(await socket.closed(), 1009);
});

test('limit: a small frame that inflates to 2 MiB closes the connection with 1009', async (t) => {
    const socket = await RawSocket.open(t, { perMessageDeflate: true });
    await socket.receives('CONNECTION');
    socket.ws.send('x'.repeat(2 * LIMIT), { compress: true });
    assert.equal(await socket.closed(), 1009);
});

test('limit: a member whose connection was closed leaves its channels', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.joined(t, room);
    await ann.sees('ann', 'raw');
    socket.sendText('x'.repeat(LIMIT + 1));
    await ann.sees('ann');
    await settle();
    assert.deepEqual(ann.leaves.map((presence) => presence.username), ['raw']);
});
