// The end of a membership: leaving and being evicted.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { joinedPeers, Peer } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

test('leave: the channel is CLOSED and nothing more is delivered', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    bob.channel.leave();
    assert.equal(bob.channel.channelState, 'CLOSED');
    await ann.sees('ann');
    ann.send('message', { n: 1 });
    await ann.receives('message');
    await settle();
    assert.equal(bob.received('message').length, 0);
});

test('leave: the same client can join again any number of times', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const bob = await Peer.joined(t, 'bob', room);
    for (let round = 1; round <= 5; round++) {
        bob.channel.leave();
        await ann.sees('ann');
        await bob.join(room);
        await ann.sees('ann', 'bob');
    }
    ann.send('message', { n: 1 });
    await bob.receives('message');
    await settle();
    assert.deepEqual(bob.received('message'), [{ n: 1 }]);
});

test('leave: a join right behind a leave ends in a membership', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    for (let round = 1; round <= 20; round++) {
        socket.leave(room);
        socket.join(room, { username: 'raw' });
    }
    assert.deepEqual((await socket.answered(socket.event('echo', room, { n: 1 }), 'echo')).payload, { n: 1 });
    assert.equal(socket.of('EXIT_ACKNOWLEDGE').length, 20);
    assert.equal(socket.of('ACKNOWLEDGE').length, 21);
});

test('leave: a leave is answered with EXIT_ACKNOWLEDGE under its id', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const { action, event, channelName, payload } = await socket.answered(socket.leave(room));
    assert.deepEqual([action, event, channelName, payload], ['SYSTEM', 'EXIT_ACKNOWLEDGE', room, {}]);
});

test('leave: a leave without a membership is acknowledged and affects no member', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.open(t);
    await socket.answered(socket.leave(room), 'EXIT_ACKNOWLEDGE');
    await socket.answered(socket.leave(chatRoom()), 'EXIT_ACKNOWLEDGE');
    await settle();
    assert.deepEqual(ann.present(), ['ann']);
    assert.deepEqual(ann.leaves, []);
});

test('leave: a user that has left cannot send', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.joined(t, room);
    await socket.answered(socket.leave(room), 'EXIT_ACKNOWLEDGE');
    const { payload } = await socket.answered(socket.event('message', room, { n: 1 }), 'INTERNAL_ERROR');
    assert.equal(payload.code, 403);
    await settle();
    assert.equal(ann.received('message').length, 0);
});

test('evict: the evicted user gets the reason in two frames, which are the last ones', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.joined(t, room);
    await ann.sees('ann', 'raw');
    const { self: userId } = (await socket.answered(socket.event('state', room, {}))).payload;
    ann.send('evict', { userId, reason: 'spam' });
    await socket.receives('EVICTED');
    const notices = socket.frames.slice(-2).map(({ action, event, payload }) => ({ action, event, payload }));
    assert.deepEqual(notices, [
        { action: 'SYSTEM', event: 'evicted', payload: { reason: 'spam', userId } },
        { action: 'SYSTEM', event: 'EVICTED', payload: { reason: 'spam', userId } },
    ]);

    ann.send('message', { n: 1 });
    await ann.receives('message');
    await settle();
    assert.equal(socket.of('message').length, 0);
    const refused = await socket.answered(socket.event('message', room, { n: 2 }), 'INTERNAL_ERROR');
    assert.equal(refused.payload.code, 403);
    assert.equal(ann.received('message').length, 1);
});

test('evict: the others receive the user, the reason and the LEAVE', async (t) => {
    const [ann, bob, cat] = await joinedPeers(t, 'ann', 'bob', 'cat');
    const { self: userId } = await bob.state();
    ann.send('evict', { userId, reason: 'spam' });
    await Promise.all([ann.sees('ann', 'cat'), cat.sees('ann', 'cat')]);
    for (const peer of [ann, cat]) {
        assert.deepEqual(peer.received('user_evicted'), [{ reason: 'spam', userId }]);
        assert.deepEqual(peer.leaves.map((presence) => presence.username), ['bob']);
    }
    assert.deepEqual(bob.received('user_evicted'), []);
    assert.deepEqual(Object.keys((await ann.state()).assigns).includes(userId), false);
});

test('evict: an evicted user may join again if the join handler accepts it', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.joined(t, room);
    const { self: userId } = (await socket.answered(socket.event('state', room, {}))).payload;
    ann.send('evict', { userId, reason: 'spam' });
    await socket.receives('EVICTED');
    await socket.isUsable(room);
    await ann.sees('ann', 'raw');
});

test('evict: a user may evict itself, and evicting an unknown user has no effect', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    ann.send('evict', { userId: '00000000-0000-4000-8000-000000000000', reason: 'ghost' });
    assert.deepEqual(await ann.ask('echo', { n: 1 }), { n: 1 });
    assert.deepEqual(bob.leaves, []);
    const { self: userId } = await bob.state();
    bob.send('evict', { userId, reason: 'enough' });
    await ann.sees('ann');
    await bob.receives('EVICTED');
});
