// The server with the published JavaScript client in Node.
//
//   node client.mjs [PROGRAM]
//
// Prints one line for each check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { run } from '../../page/browser/checks.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { Server } from '../../page/browser/server.mjs';

const { PondClient } = createRequire(new URL('../../page/package.json', import.meta.url))('@eleven-am/pondsocket-client');
const server = await Server.start('from-go');
const socket = `${server.url.replace('http', 'ws')}/api/socket`;

/** A user that records everything it receives, and waits for events by name. */
class Person {
    received = [];
    waiters = [];

    static async join (room, token, params = {}) {
        const person = new Person();
        person.client = new PondClient(socket, { token });
        person.channel = person.client.createChannel(`/chat/${room}`, params);
        person.channel.onMessage((event, payload) => person.record(event, payload));
        person.channel.onUsersChange((people) => person.record('people', people));
        person.channel.onChannelStateChange((state) => person.record(state, {}));
        person.channel.join();
        person.client.connect();
        return person;
    }

    record (event, payload) {
        this.received.push([event, payload]);
        this.waiters = this.waiters.filter((look) => !look());
    }

    /** The payload of the first event of this name that fulfils `is`, received already or later. */
    waitFor (event, is = () => true) {
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`${event} was not received, only ${JSON.stringify(this.received)}`)), 10_000);
            const look = () => {
                const found = this.received.find(([name, payload]) => name === event && is(payload));
                if (found) { clearTimeout(timer); resolve(found[1]); }
                return Boolean(found);
            };
            if (!look()) this.waiters.push(look);
        });
    }

    request (event, payload) {
        return this.channel.sendForResponse(event, payload);
    }

    send (event, payload) {
        this.channel.sendMessage(event, payload);
    }
}

let ada, bob;
const checks = [
    ['a new member is welcomed, and the others are notified', async () => {
        ada = await Person.join('general', 'ada-secret');
        assert.deepEqual(await ada.waitFor('welcome'), { room: 'general', members: 1, user: { id: '1', username: 'Ada', role: 'admin' } });
        bob = await Person.join('general', 'bob-secret', { status: 'busy' });
        assert.equal((await bob.waitFor('welcome')).members, 2);
        assert.equal((await ada.waitFor('user_joined')).user.username, 'Bob');
        await ada.waitFor('people', (people) => people.some(({ username, status }) => username === 'Bob' && status === 'busy'));
    }],
    ['a message reaches all members, and typing only the others', async () => {
        bob.send('typing', { isTyping: true });
        bob.send('message', { text: ' hello ' });
        for (const person of [ada, bob]) assert.deepEqual(await person.waitFor('message'), { from: { id: '2', username: 'Bob', role: 'user' }, text: 'hello' });
        assert.deepEqual(await ada.waitFor('typing'), { user: { id: '2', username: 'Bob', role: 'user' }, isTyping: true });
        assert.equal(bob.received.some(([event]) => event === 'typing'), false);
    }],
    ['a status reaches all members', async () => {
        assert.deepEqual(await ada.request('status_update', { status: 'away' }), { status: 'away' });
        await bob.waitFor('people', (people) => people.some(({ username, status }) => username === 'Ada' && status === 'away'));
    }],
    ['a private message reaches only its recipient', async () => {
        assert.equal((await ada.request('private_message', { to: '2', text: 'psst' })).to.username, 'Bob');
        assert.equal((await bob.waitFor('private_message')).text, 'psst');
        assert.equal(ada.received.some(([event]) => event === 'private_message'), false);
    }],
    ['the room lists its members', async () => {
        const { room, members, people } = await bob.request('room_info', {});
        assert.deepEqual([room, members, people['1'], people['2']], ['general', 2, { username: 'Ada', status: 'away' }, { username: 'Bob', status: 'busy' }]);
    }],
    ['errors have a code, a text and details', async () => {
        const error = async (event, payload) => { const { code, message, details } = await bob.request(event, payload); return [code, message, details]; };
        assert.deepEqual(await error('message', { text: ' ' }), [400, 'a message has at least one character', undefined]);
        assert.deepEqual((await error('message', { text: 'x'.repeat(501) }))[0], 413);
        assert.deepEqual(await error('private_message', { to: '9', text: 'psst' }), [404, 'nobody of this id is here', { to: '9' }]);
        assert.deepEqual(await error('dance', {}), [404, 'no handler for this event', { event: 'dance' }]);
        const [code, , details] = await error('status_update', { status: 'dancing' });
        assert.deepEqual([code, details.field], [400, 'status']);
    }],
    ['a room for admins declines other users', async () => {
        const eve = await Person.join('staff', 'eve-secret');
        await eve.waitFor('DECLINED');
        eve.client.disconnect();
        const boss = await Person.join('staff', 'ada-secret');
        await boss.waitFor('welcome');
        boss.client.disconnect();
    }],
    ['the endpoint accepts a valid token in the query or in a header', async () => {
        const by = (query, headers) => handshake(`${server.url}/api/socket${query}`, headers);
        assert.deepEqual(await Promise.all([by('?token=ada-secret'), by('', { Authorization: 'Bearer ada-secret' })]), [101, 101]);
        assert.deepEqual(await Promise.all([by(''), by('?token=wrong'), by('', { Authorization: 'Bearer wrong' })]), [401, 403, 403]);
    }],
    ['the others are notified when a member leaves', async () => {
        bob.client.disconnect();
        assert.equal((await ada.waitFor('user_left')).user.username, 'Bob');
        await ada.waitFor('people', (people) => people.length === 1);
    }],
    ['SIGTERM ends the server', async () => {
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
        ada.client.disconnect();
    }],
];

await run(checks, async () => { server.child.kill('SIGKILL'); });
process.exit();
