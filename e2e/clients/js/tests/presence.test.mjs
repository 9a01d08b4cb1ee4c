// The presence list and its changes.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { joinedPeers, Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom, plainRoom } from '../support/server.mjs';
import { settle, until } from '../support/wait.mjs';

test('presence: the joiner gets its own JOIN and the list', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom());
    await until('its own JOIN', () => ann.joins.length > 0);
    const { self } = await ann.state();
    assert.deepEqual(ann.joins, [{ id: self, username: 'ann', status: 'online' }]);
    assert.deepEqual(ann.present(), ['ann']);
});

test('presence: the others get the JOIN, the joiner the whole list', async (t) => {
    const [ann, bob, cat] = await joinedPeers(t, 'ann', 'bob', 'cat');
    assert.deepEqual(ann.joins.map((presence) => presence.username), ['ann', 'bob', 'cat']);
    assert.deepEqual(bob.joins.map((presence) => presence.username), ['bob', 'cat']);
    assert.deepEqual(cat.joins.map((presence) => presence.username), ['cat']);
});

test('presence: JOIN, UPDATE and LEAVE each carry the list after the change and the changed user', async (t) => {
    const room = chatRoom();
    const watcher = await RawSocket.joined(t, room, 'ann');
    const bob = await Peer.joined(t, 'bob', room);
    await bob.sees('ann', 'bob');
    bob.send('status', { status: 'away' });
    await watcher.receives('UPDATE');
    bob.channel.leave();
    await watcher.receives('LEAVE');

    const changes = watcher.frames.filter((frame) => frame.action === 'PRESENCE').map(({ event, payload }) => [
        event,
        payload.changed.username,
        payload.changed.status,
        payload.presence.map((presence) => `${presence.username} ${presence.status}`).sort(),
    ]);
    assert.deepEqual(changes, [
        ['JOIN', 'ann', 'online', ['ann online']],
        ['JOIN', 'bob', 'online', ['ann online', 'bob online']],
        ['UPDATE', 'bob', 'away', ['ann online', 'bob away']],
        ['LEAVE', 'bob', 'away', ['ann online']],
    ]);
});

test('presence: an update reaches all members and changes only its key', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    const { self, presence: { [await bob.state().then((state) => state.self)]: before } } = await ann.state();
    bob.send('status', { status: 'away' });
    for (const peer of [ann, bob]) {
        await until(`${peer.name} gets the UPDATE`, () => peer.updates.length > 0);
        assert.deepEqual(peer.updates.at(-1).changed, { ...before, status: 'away' });
        assert.deepEqual(peer.channel.presence.find(({ username }) => username === 'bob'), { ...before, status: 'away' });
        assert.equal(peer.channel.presence.find(({ username }) => username === 'ann').id, self);
    }
});

test('presence: untrack gives LEAVE to the others; the user stays a member without presence messages', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    bob.send('untrack', {});
    await until('LEAVE', () => ann.leaves.some((presence) => presence.username === 'bob'));
    await ann.sees('ann');
    const before = bob.updates.length;
    ann.send('status', { status: 'busy' });
    await until('the UPDATE', () => ann.channel.presence[0].status === 'busy');
    ann.send('message', { n: 1 });
    await bob.receives('message');
    assert.equal(bob.updates.length, before);
});

test('presence: leave() gives LEAVE to the others', async (t) => {
    const [ann, bob] = await joinedPeers(t, 'ann', 'bob');
    bob.channel.leave();
    await until('LEAVE', () => ann.leaves.some((presence) => presence.username === 'bob'));
    assert.deepEqual(ann.present(), ['ann']);
});

test('presence: disconnect() gives LEAVE in every channel', async (t) => {
    const [one, two] = [chatRoom(), chatRoom()];
    const ann = await Peer.joined(t, 'ann', one);
    const cat = await Peer.joined(t, 'cat', two);
    const bob = await Peer.joined(t, 'bob', one);
    await bob.join(two);
    await Promise.all([ann.sees('ann', 'bob'), cat.sees('bob', 'cat')]);
    bob.client.disconnect();
    await Promise.all([ann.sees('ann'), cat.sees('cat')]);
    assert.deepEqual([...ann.leaves, ...cat.leaves].map((presence) => presence.username), ['bob', 'bob']);
});

test('presence: a cut connection gives LEAVE to the others', async (t) => {
    const proxy = await Proxy.start(t);
    const room = chatRoom();
    const ann = await Peer.joined(t, 'ann', room);
    const socket = await RawSocket.open(t, { url: proxy.url });
    await socket.answered(socket.join(room, { username: 'bob' }), 'ACKNOWLEDGE');
    await ann.sees('ann', 'bob');
    proxy.cut();
    await ann.sees('ann');
    assert.deepEqual(ann.leaves.map((presence) => presence.username), ['bob']);
});

test('presence: a channel without presence sends none', async (t) => {
    const room = plainRoom();
    const socket = await RawSocket.joined(t, room);
    const ann = await Peer.joined(t, 'ann', room);
    ann.send('message', { n: 1 });
    await socket.receives('message');
    await settle();
    assert.deepEqual(socket.frames.filter((frame) => frame.action === 'PRESENCE'), []);
    assert.deepEqual((await ann.state()).presence, {});
});

test('presence: after 30 joins and leaves all lists equal the remaining members', async (t) => {
    const room = chatRoom();
    const names = Array.from({ length: 30 }, (_, n) => `user-${n}`);
    const peers = await Promise.all(names.map((name) => Peer.joined(t, name, room)));
    const [leaving, staying] = [peers.filter((_, n) => n % 2), peers.filter((_, n) => n % 2 === 0)];
    leaving.forEach((peer, n) => n % 2 ? peer.channel.leave() : peer.client.disconnect());
    const left = staying.map((peer) => peer.name);
    await Promise.all(staying.map((peer) => peer.sees(...left)));
    const { presence } = await staying[0].state();
    assert.deepEqual(Object.values(presence).map(({ username }) => username).sort(), left.sort());
});
