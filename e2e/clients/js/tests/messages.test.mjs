// Messages between the members of a channel: their recipients and their content.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { joinedPeers, Peer } from '../support/peer.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

test('message: a broadcast reaches all members and the sender', async (t) => {
    const peers = await joinedPeers(t, 'ann', 'bob', 'cat');
    peers[0].send('message', { text: 'hi' });
    await Promise.all(peers.map((peer) => peer.receives('message')));
    await settle();
    for (const peer of peers) assert.deepEqual(peer.received('message'), [{ text: 'hi' }]);
});

test('message: a broadcast to others does not reach the sender', async (t) => {
    const [ann, bob, cat] = await joinedPeers(t, 'ann', 'bob', 'cat');
    ann.send('typing', { on: true });
    await Promise.all([bob.receives('typing'), cat.receives('typing')]);
    await settle();
    assert.deepEqual([ann, bob, cat].map((peer) => peer.received('typing').length), [0, 1, 1]);
});

test('message: a private message reaches only its recipient, with the sender\'s id', async (t) => {
    const [ann, bob, cat] = await joinedPeers(t, 'ann', 'bob', 'cat');
    const [{ self: from }, { self: to }] = [await ann.state(), await bob.state()];
    ann.send('private', { to, text: 'psst' });
    await bob.receives('private');
    await settle();
    assert.deepEqual(bob.received('private'), [{ from, text: 'psst' }]);
    assert.deepEqual([ann, cat].map((peer) => peer.received('private').length), [0, 0]);
});

test('message: a private message to an unknown user has no effect', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    ann.send('private', { to: '00000000-0000-4000-8000-000000000000', text: 'psst' });
    assert.deepEqual(await ann.ask('echo', { n: 1 }), { n: 1 });
    assert.equal(bob.received('private').length, 0);
});

test('message: rooms are isolated', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom());
    const bob = await Peer.joined(t, 'bob', chatRoom());
    ann.send('message', { n: 1 });
    await ann.receives('message');
    await settle();
    assert.equal(bob.received('message').length, 0);
});

test('message: 20 users with 10 messages each: all 200 reach each of them once', async (t) => {
    const room = chatRoom();
    const users = Array.from({ length: 20 }, (_, user) => user);
    const peers = await Promise.all(users.map((user) => Peer.joined(t, `user-${user}`, room)));
    for (let n = 0; n < 10; n++) users.forEach((user) => peers[user].send('message', { user, n }));
    await Promise.all(peers.map((peer) => peer.receives('message', 200)));
    await settle();
    for (const peer of peers) {
        for (const user of users) {
            const numbers = peer.received('message').filter((message) => message.user === user).map((message) => message.n);
            assert.deepEqual(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], `${peer.name} of user-${user}`);
        }
    }
});

test('message: unicode arrives as sent, in values and keys', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    const text = 'é e\u0301 日本語 עברית العربية 👩‍👩‍👧‍👦 🇫🇷 \u0000 \u001f \u007f \u2028 \u2029 \ufeff \uffff " \\ / \t\r\n';
    ann.send('message', { text, [text]: text });
    await bob.receives('message');
    assert.deepEqual(bob.received('message'), [{ text, [text]: text }]);
});

test('message: a room and a user may have unicode names', async (t) => {
    const room = `${chatRoom()}-日本語-👋`;
    const ann = await Peer.joined(t, 'Ånn 👋', room);
    await ann.sees('Ånn 👋');
    assert.deepEqual(await ann.ask('echo', { n: 1 }), { n: 1 });
});

test('message: JSON values arrive as sent', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    const deep = Array.from({ length: 40 }).reduce((inner) => ({ inner: [inner] }), {});
    const payload = {
        nothing: null, yes: true, no: false, list: [1, 'a', null, [2, {}]], object: {}, '': 'empty key', deep,
        numbers: [0, -0.5, 1e21, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 5e-324, 1.7976931348623157e308, 0.1],
    };
    ann.send('message', payload);
    await bob.receives('message');
    assert.deepEqual(bob.received('message')[0], payload);
    assert.deepEqual(await ann.ask('echo', payload), payload);
});

test('message: an empty, null or missing payload arrives as {}', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    for (const payload of [{}, null, undefined]) socket.event('message', room, payload);
    await socket.receives('message', 3);
    assert.deepEqual(socket.of('message').map((frame) => frame.payload), [{}, {}, {}]);
});

for (const kib of [16, 64, 256, 900]) {
    test(`message: a payload of ${kib} KiB arrives whole`, async (t) => {
        const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
        const text = 'aé€'.repeat(kib * 1024 / 6);
        ann.send('message', { text });
        await bob.receives('message');
        // assert.equal would print both texts.
        assert.ok(bob.received('message')[0].text === text);
    });
}
