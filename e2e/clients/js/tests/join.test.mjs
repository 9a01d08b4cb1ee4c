// Joining a channel and being declined.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Peer } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom, plainRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

test('join: JOINING, then JOINED', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom());
    assert.deepEqual(ann.states.filter((state) => state !== 'IDLE'), ['JOINING', 'JOINED']);
});

test('join: join() before connect() takes effect once connected', async (t) => {
    const ann = new Peer(t, 'ann');
    ann.choose(chatRoom()).join();
    ann.client.connect();
    await ann.reaches('JOINED');
});

test('join: a join sent before CONNECTION was read is acknowledged after it', async (t) => {
    const socket = await RawSocket.open(t);
    await socket.answered(socket.join(chatRoom(), { username: 'raw' }), 'ACKNOWLEDGE');
    assert.equal(socket.frames[0].event, 'CONNECTION');
});

test('join: the ACKNOWLEDGE is an empty SYSTEM frame', async (t) => {
    const socket = await RawSocket.open(t);
    const ack = await socket.answered(socket.join(chatRoom(), { username: 'raw' }));
    assert.deepEqual([ack.action, ack.event, ack.payload], ['SYSTEM', 'ACKNOWLEDGE', {}]);
});

test('join: the handler\'s decline makes the channel DECLINED', async (t) => {
    const ann = await Peer.connected(t, 'ann');
    ann.choose(chatRoom(), {}).join();
    await ann.reaches('DECLINED');
});

for (const [what, params] of [['no username', {}], ['null', null], ['no payload', undefined]]) {
    test(`join: the decline frame carries the join's id, 403 and the message (${what})`, async (t) => {
        const socket = await RawSocket.open(t);
        const room = chatRoom();
        const { action, event, payload } = await socket.answered(socket.join(room, params));
        assert.deepEqual([action, event], ['SYSTEM', 'UNAUTHORIZED']);
        assert.deepEqual(
            [payload.code, payload.status, payload.message, payload.temporary, payload.channelName],
            [403, 403, 'username required', false, room],
        );
    });
}

test('join: parameters of the wrong type are declined', async (t) => {
    const socket = await RawSocket.open(t);
    for (const params of [{ username: 7 }, { username: null }, { username: ['ann'] }, [], 'ann', 7]) {
        const { payload } = await socket.answered(socket.join(chatRoom(), params), 'UNAUTHORIZED');
        assert.ok(payload.code >= 400 && payload.code < 500, JSON.stringify([params, payload]));
    }
    await socket.isUsable(chatRoom());
});

test('join: after a decline the same connection may join again', async (t) => {
    const socket = await RawSocket.open(t);
    const room = chatRoom();
    await socket.answered(socket.join(room, {}), 'UNAUTHORIZED');
    await socket.isUsable(room);
});

test('join: a channel that no pattern matches becomes DECLINED, and the connection stays usable', async (t) => {
    const ann = await Peer.connected(t, 'ann');
    ann.choose('/nowhere/1').join();
    await ann.reaches('DECLINED');
    await ann.join(chatRoom());
});

for (const room of ['/nowhere/1', '/chat', '/chat/', '/chat/1/2', 'chat', 'GATEWAY', `/chat/${'x'.repeat(600)}`]) {
    test(`join: ${room.slice(0, 20)} is answered with UNAUTHORIZED 4xx under the join's id`, async (t) => {
        const socket = await RawSocket.open(t);
        const { payload } = await socket.answered(socket.join(room, { username: 'raw' }), 'UNAUTHORIZED');
        assert.ok(payload.code >= 400 && payload.code < 500, JSON.stringify(payload));
        assert.equal(socket.of('ACKNOWLEDGE').length, 0);
        await socket.isUsable(chatRoom());
    });
}

test('join: an unknown channel is declined with 404', async (t) => {
    const socket = await RawSocket.open(t);
    const { payload } = await socket.answered(socket.join('/nowhere/1', {}), 'UNAUTHORIZED');
    assert.deepEqual([payload.code, payload.status], [404, 404]);
});

test('join: a second join of one connection is acknowledged and does not duplicate messages', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.joined(t, room, 'bob');
    await ann.sees('ann', 'bob');
    await socket.answered(socket.join(room, { username: 'bob' }), 'ACKNOWLEDGE');
    socket.event('message', room, { n: 1 });
    await socket.receives('message');
    await settle();
    assert.equal(socket.of('message').length, 1);
    assert.deepEqual(ann.present(), ['ann', 'bob']);
    assert.equal(ann.joins.filter((presence) => presence.username === 'bob').length, 1);
});

test('join: two channels of one connection are isolated', async (t) => {
    const socket = await RawSocket.open(t);
    const [one, two] = [chatRoom(), plainRoom()];
    for (const room of [one, two]) await socket.answered(socket.join(room, { username: 'raw' }), 'ACKNOWLEDGE');
    socket.event('message', one, { in: 'one' });
    socket.event('message', two, { in: 'two' });
    await socket.receives('message', 2);
    await settle();
    const received = socket.of('message').map((frame) => [frame.channelName, frame.payload.in]);
    assert.deepEqual(received.sort(), [[one, 'one'], [two, 'two']].sort());
});

test('join: channel names are case-sensitive', async (t) => {
    const room = chatRoom();
    const lower = await RawSocket.joined(t, `${room}é`);
    const upper = await RawSocket.joined(t, `${room}É`);
    lower.event('message', `${room}é`, { n: 1 });
    await lower.receives('message');
    await settle();
    assert.equal(upper.of('message').length, 0);
});

test('join: a message right behind the join waits for the decision', async (t) => {
    const socket = await RawSocket.open(t);
    const room = chatRoom();
    const join = socket.join(room, { username: 'raw' });
    const echo = socket.event('echo', room, { n: 1 });
    await socket.answered(echo, 'echo');
    assert.ok(await socket.answered(join, 'ACKNOWLEDGE'));
});

test('join: a message right behind a declined join is refused', async (t) => {
    const socket = await RawSocket.open(t);
    const room = chatRoom();
    socket.join(room, {});
    const answer = await socket.answered(socket.event('echo', room, { n: 1 }));
    assert.ok(['NOT_FOUND', 'INTERNAL_ERROR'].includes(answer.event), JSON.stringify(answer));
});

for (const name of ['/chat/x\ud800', '/chat/\udc00', '\ud83d\ud83d']) {
    test(`join: the invalid channel name ${JSON.stringify(name)} ends in DECLINED`, async (t) => {
        const ann = await Peer.connected(t, 'ann');
        ann.choose(name, { username: 'ann' }).join();
        await ann.reaches('DECLINED');
        await ann.join(chatRoom());
    });
}

const nested = (levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));

for (const [what, params] of [
    ['half a surrogate pair', { username: 'x\ud800' }],
    ['half a surrogate pair as a key', { '\udc00': 1 }],
    ['101 levels', { username: nested(100) }],
    ['500 levels', { username: nested(499) }],
]) {
    test(`join: parameters with ${what} end in DECLINED, and the connection goes on`, async (t) => {
        const ann = await Peer.connected(t, 'ann');
        ann.choose(chatRoom(), params).join();
        await ann.reaches('DECLINED');
        await ann.join(chatRoom());
    });
}
