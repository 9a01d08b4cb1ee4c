// Requests and their answers: replies, errors, and assigns read back.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { joinedPeers, Peer } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

test('reply: sendForResponse resolves with the reply', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom());
    assert.deepEqual(await ann.ask('echo', { n: 1 }), { n: 1 });
});

test('reply: a reply is a SYSTEM frame with the event and the id of the request', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const { action, event, channelName, payload } = await socket.answered(socket.event('echo', room, { n: 1 }));
    assert.deepEqual([action, event, channelName, payload], ['SYSTEM', 'echo', room, { n: 1 }]);
});

test('reply: each of 100 concurrent requests gets its own reply', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom());
    const requests = Array.from({ length: 100 }, (_, n) => ({ n }));
    const replies = await Promise.all(requests.map((request) => ann.ask('echo', request)));
    assert.deepEqual(replies, requests);
});

test('reply: two users with the same request id each get their own reply', async (t) => {
    const room = chatRoom();
    const [one, two] = [await RawSocket.joined(t, room), await RawSocket.joined(t, room)];
    const [first, second] = [one.event('echo', room, { of: 1 }), two.event('echo', room, { of: 2 })];
    assert.equal(first, second);
    assert.deepEqual((await one.answered(first, 'echo')).payload, { of: 1 });
    assert.deepEqual((await two.answered(second, 'echo')).payload, { of: 2 });
});

test('reply: only the requesting user gets the reply', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    await ann.ask('echo', { n: 1 });
    await settle();
    assert.equal(bob.received('echo').length, 0);
});

test('reply: a slow reply does not delay other members', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    let slow = 'waiting';
    const reply = ann.ask('slow', { ms: 1000 }).then(() => { slow = 'answered'; });
    assert.deepEqual(await bob.ask('echo', { n: 1 }), { n: 1 });
    bob.send('message', { n: 2 });
    await ann.receives('message');
    assert.equal(slow, 'waiting');
    await reply;
});

test('reply: a slow reply does not delay the other channels of its connection', async (t) => {
    const socket = await RawSocket.open(t);
    const [one, two] = [chatRoom(), chatRoom()];
    for (const room of [one, two]) await socket.answered(socket.join(room, { username: 'raw' }), 'ACKNOWLEDGE');
    const slow = socket.event('slow', one, { ms: 1000 });
    await socket.answered(socket.event('echo', two, { n: 1 }), 'echo');
    assert.equal(socket.of('slow').length, 0);
    await socket.answered(slow, 'slow');
});

test('reply: messages behind a slow request wait for its reply', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const [slow, echo] = [socket.event('slow', room, { ms: 300 }), socket.event('echo', room, { n: 1 })];
    await socket.answered(echo);
    const order = socket.frames.map((frame) => frame.requestId).filter((id) => id === slow || id === echo);
    assert.deepEqual(order, [slow, echo]);
});

test('error: an error of the handler arrives with its code and text and resolves the request', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    const { code, status, message } = await ann.ask('fail', {});
    assert.deepEqual([code, status, message], [422, 422, 'told to fail']);
    assert.equal(ann.channel.channelState, 'JOINED');
    await settle();
    assert.deepEqual([bob.received('fail'), bob.received('INTERNAL_ERROR')], [[], []]);
});

test('error: a panic is answered with a plain 500, and the connection goes on', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const { action, event, payload } = await socket.answered(socket.event('panic', room, {}));
    assert.deepEqual([action, event, payload.code, payload.status], ['SYSTEM', 'INTERNAL_ERROR', 500, 500]);
    assert.doesNotMatch(JSON.stringify(payload), /panic|\.rs/i);
    assert.deepEqual((await socket.answered(socket.event('echo', room, { n: 1 }))).payload, { n: 1 });
});

for (const event of ['no-such-event', 'ACKNOWLEDGE', 'JOIN_CHANNEL', 'message/x', 'Message']) {
    test(`error: ${event} has no handler and is answered with NOT_FOUND`, async (t) => {
        const room = chatRoom();
        const socket = await RawSocket.joined(t, room);
        const answer = await socket.answered(socket.event(event, room, {}));
        assert.deepEqual([answer.action, answer.event, answer.payload.code], ['SYSTEM', 'NOT_FOUND', 404]);
        assert.deepEqual((await socket.answered(socket.event('echo', room, { n: 1 }))).payload, { n: 1 });
    });
}

test('error: a message without a membership is refused and not delivered', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.open(t);
    const answer = await socket.answered(socket.event('message', room, { n: 1 }));
    assert.deepEqual([answer.action, answer.event, answer.payload.code], ['SYSTEM', 'INTERNAL_ERROR', 403]);
    await settle();
    assert.equal(ann.received('message').length, 0);
});

for (const room of ['/chat/without-members', '/nowhere/1']) {
    test(`error: a message to ${room} is answered NOT_FOUND 404`, async (t) => {
        const socket = await RawSocket.open(t);
        const answer = await socket.answered(socket.event('message', room, { n: 1 }));
        assert.deepEqual([answer.action, answer.event, answer.payload.code], ['SYSTEM', 'NOT_FOUND', 404]);
    });
}

test('assigns: a user has one set, which a join sets and an event changes', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    bob.send('assign', { key: 'role', value: { admin: true } });
    const [{ self: annId }, { self: bobId }] = [await ann.state(), await bob.state()];
    const { assigns, presence } = await ann.state();
    assert.deepEqual(Object.keys(assigns).sort(), [annId, bobId].sort());
    assert.equal(assigns[annId].username, 'ann');
    assert.equal(assigns[annId].role, undefined);
    assert.equal(assigns[bobId].username, 'bob');
    assert.deepEqual(assigns[bobId].role, { admin: true });
    assert.equal(assigns[bobId].room, assigns[annId].room);
    assert.deepEqual(Object.keys(presence).sort(), [annId, bobId].sort());
});
