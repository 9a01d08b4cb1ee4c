// Reconnection of the published client, and the messages that it queues meanwhile.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { chatRoom } from '../support/server.mjs';

for (const [what, end] of [['a cut socket', 'cut'], ['a close frame 1001', 'goAway']]) {
    test(`reconnect: after ${what} the channel is STALLED, then JOINED, and messages flow both ways`, async (t) => {
        const proxy = await Proxy.start(t);
        const room = chatRoom();
        const ann = await Peer.joined(t, 'ann', room);
        const bob = await Peer.joined(t, 'bob', room, { url: proxy.url });
        await ann.sees('ann', 'bob');
        const { self: before } = await bob.state();

        proxy[end]();
        await bob.reaches('STALLED');
        await bob.reaches('JOINED');
        await Promise.all([ann.sees('ann', 'bob'), bob.sees('ann', 'bob')]);
        assert.notEqual((await bob.state()).self, before);

        ann.send('message', { of: 'ann' });
        await Promise.all([ann, bob].map((peer) => peer.receives('message')));
        bob.send('message', { of: 'bob' });
        await Promise.all([ann, bob].map((peer) => peer.receives('message', 2)));
        for (const peer of [ann, bob]) assert.deepEqual(peer.received('message'), [{ of: 'ann' }, { of: 'bob' }]);
        assert.deepEqual(ann.leaves.map((presence) => presence.username), ['bob']);
        assert.deepEqual(ann.present(), ['ann', 'bob']);
    });
}

test('reconnect: every channel of the connection is joined again', async (t) => {
    const proxy = await Proxy.start(t);
    const [one, two] = [chatRoom(), chatRoom()];
    const bob = await Peer.joined(t, 'bob', one, { url: proxy.url });
    const first = bob.channel;
    await bob.join(two);
    proxy.cut();
    await bob.reaches('STALLED');
    await bob.reaches('JOINED');
    for (const channel of [first, bob.channel]) {
        bob.channel = channel;
        await bob.reaches('JOINED');
        assert.deepEqual(await bob.ask('echo', { n: 1 }), { n: 1 });
    }
});

test('queue: messages sent before the join are delivered after it, in order', async (t) => {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const bob = await Peer.connected(t, 'bob');
    bob.choose(room);
    for (let n = 0; n < 50; n++) bob.send('message', { n });
    bob.channel.join();
    await ann.receives('message', 50);
    assert.deepEqual(ann.received('message').map(({ n }) => n), Array.from({ length: 50 }, (_, n) => n));
});

test('queue: messages sent while STALLED are delivered after the rejoin, in order', async (t) => {
    const proxy = await Proxy.start(t);
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const bob = await Peer.joined(t, 'bob', room, { url: proxy.url });
    proxy.cut();
    await bob.reaches('STALLED');
    for (let n = 0; n < 10; n++) bob.send('message', { n });
    await ann.receives('message', 10);
    assert.deepEqual(ann.received('message').map(({ n }) => n), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});
