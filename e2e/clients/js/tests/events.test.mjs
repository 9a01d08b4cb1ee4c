// The published client over an event stream.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { eventServer, overEvents } from '../support/events.mjs';
import { Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { chatRoom } from '../support/server.mjs';
import { until } from '../support/wait.mjs';

/** Ann over an event stream and Bob over a WebSocket, in a new room. */
async function pair (t) {
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room, overEvents);
    const bob = await Peer.joined(t, 'bob', room);
    await Promise.all([ann.sees('ann', 'bob'), bob.sees('ann', 'bob')]);
    return [ann, bob, room];
}

test('events: the client becomes CONNECTED, once, and knows its id', async (t) => {
    const ann = await Peer.connected(t, 'ann', overEvents);
    assert.equal(ann.connections(), 1);
    assert.deepEqual(ann.errors, []);
    assert.match(ann.client.getConnectionId(), /^[0-9a-f]{32}$/);
});

test('events: a client without a token is refused', async (t) => {
    const ann = new Peer(t, 'ann', { ...overEvents, query: {} });
    ann.client.onError(() => ann.client.disconnect());
    ann.client.connect();
    await until('an error is reported', () => ann.errors.length > 0);
    assert.equal(ann.connections(), 0);
    assert.equal((await fetch(eventServer, { headers: { Accept: 'text/event-stream' } })).status, 401);
});

test('events: messages of both reach both, as sent and in one order', async (t) => {
    const [ann, bob] = await pair(t);
    const text = 'line\nbreak\r\n\ndata: x\n\n: \u2028 é 日本語 👩‍👩‍👧‍👦 \u0000 " \\';
    bob.send('message', { text });
    await ann.receives('message');
    for (let n = 0; n < 100; n++) bob.send('message', { n });
    ann.send('message', { of: 'ann' });
    await Promise.all([ann.receives('message', 102), bob.receives('message', 102)]);
    assert.deepEqual(ann.received('message'), bob.received('message'));
    assert.deepEqual(ann.received('message')[0], { text });
});

test('events: 256 KiB arrive as sent, in both directions', async (t) => {
    const [ann, bob] = await pair(t);
    const payload = { long: 'é€x'.repeat(256 * 1024 / 6) };
    ann.send('message', payload);
    await Promise.all([ann.receives('message'), bob.receives('message')]);
    assert.deepEqual([ann.received('message'), bob.received('message')], [[payload], [payload]]);
});

test('events: requests get their replies, and errors', async (t) => {
    const [ann] = await pair(t);
    const replies = await Promise.all(Array.from({ length: 20 }, (_, n) => ann.ask('echo', { n })));
    assert.deepEqual(replies.map(({ n }) => n), Array.from({ length: 20 }, (_, n) => n));
    assert.equal((await ann.ask('fail', {})).code, 422);
});

test('events: a decline makes the channel DECLINED', async (t) => {
    const ann = await Peer.connected(t, 'ann', overEvents);
    ann.choose(chatRoom(), {}).join();
    await ann.reaches('DECLINED');
});

test('events: presence follows updates, and the end of the stream', async (t) => {
    const [ann, bob] = await pair(t);
    ann.send('status', { status: 'away' });
    await until('bob sees it', () => bob.channel.presence.some((presence) => presence.status === 'away'));
    ann.client.disconnect();
    await bob.sees('bob');
    assert.deepEqual(bob.leaves.map((presence) => presence.username), ['ann']);
});

test('events: leave ends the deliveries, join begins them again', async (t) => {
    const [ann, bob, room] = await pair(t);
    ann.channel.leave();
    await bob.sees('bob');
    bob.send('message', { n: 1 });
    await bob.receives('message');
    await ann.join(room);
    await bob.sees('ann', 'bob');
    bob.send('message', { n: 2 });
    await ann.receives('message');
    assert.deepEqual(ann.received('message'), [{ n: 2 }]);
});

test('events: after a cut connection the client reconnects and joins again', async (t) => {
    const proxy = await Proxy.start(t);
    const url = new URL(eventServer);
    url.port = proxy.url.port;
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room, { ...overEvents, url });
    const first = ann.client.getConnectionId();
    proxy.cut();
    await until('ann is connected again', () => ann.connections() === 2);
    await ann.reaches('JOINED');
    assert.notEqual(ann.client.getConnectionId(), first);
    assert.deepEqual(await ann.ask('echo', { still: 'here' }), { still: 'here' });
});
