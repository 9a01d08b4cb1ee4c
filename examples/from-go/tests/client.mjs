// The server, tried by the published JavaScript client in Node.
//
//   node client.mjs [PROGRAM]
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { run } from '../../page/browser/checks.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { Server } from '../../page/browser/server.mjs';

const { PondClient } = createRequire(new URL('../../page/package.json', import.meta.url))('@eleven-am/pondsocket-client');
const server = await Server.start('from-go');
const socket = `${server.url.replace('http', 'ws')}/api/socket`;

/** Somebody who listens to everything, and waits for it by name. */
class Person {
    heard = [];
    waiting = [];

    static async in (room, token, params = {}) {
        const person = new Person();
        person.client = new PondClient(socket, { token });
        person.channel = person.client.createChannel(`/chat/${room}`, params);
        person.channel.onMessage((event, payload) => person.got(event, payload));
        person.channel.onUsersChange((people) => person.got('people', people));
        person.channel.onChannelStateChange((state) => person.got(state, {}));
        person.channel.join();
        person.client.connect();
        return person;
    }

    got (event, payload) {
        this.heard.push([event, payload]);
        this.waiting = this.waiting.filter((look) => !look());
    }

    /** The first of these events that is so, also one that has been. */
    hears (event, is = () => true) {
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`${event} has not come; there were ${JSON.stringify(this.heard)}`)), 10_000);
            const look = () => {
                const found = this.heard.find(([name, payload]) => name === event && is(payload));
                if (found) { clearTimeout(timer); resolve(found[1]); }
                return Boolean(found);
            };
            if (!look()) this.waiting.push(look);
        });
    }

    asks (event, payload) {
        return this.channel.sendForResponse(event, payload);
    }

    says (event, payload) {
        this.channel.sendMessage(event, payload);
    }
}

let ada, bob;
const checks = [
    ['who comes in is welcomed, and the others are told', async () => {
        ada = await Person.in('general', 'ada-secret');
        assert.deepEqual(await ada.hears('welcome'), { room: 'general', members: 1, user: { id: '1', username: 'Ada', role: 'admin' } });
        bob = await Person.in('general', 'bob-secret', { status: 'busy' });
        assert.equal((await bob.hears('welcome')).members, 2);
        assert.equal((await ada.hears('user_joined')).user.username, 'Bob');
        await ada.hears('people', (people) => people.some(({ username, status }) => username === 'Bob' && status === 'busy'));
    }],
    ['a message goes to all, and who types is told to the others alone', async () => {
        bob.says('typing', { isTyping: true });
        bob.says('message', { text: ' hello ' });
        for (const person of [ada, bob]) assert.deepEqual(await person.hears('message'), { from: { id: '2', username: 'Bob', role: 'user' }, text: 'hello' });
        assert.deepEqual(await ada.hears('typing'), { user: { id: '2', username: 'Bob', role: 'user' }, isTyping: true });
        assert.equal(bob.heard.some(([event]) => event === 'typing'), false);
    }],
    ['a status is shown to all', async () => {
        assert.deepEqual(await ada.asks('status_update', { status: 'away' }), { status: 'away' });
        await bob.hears('people', (people) => people.some(({ username, status }) => username === 'Ada' && status === 'away'));
    }],
    ['a private message goes to one', async () => {
        assert.equal((await ada.asks('private_message', { to: '2', text: 'psst' })).to.username, 'Bob');
        assert.equal((await bob.hears('private_message')).text, 'psst');
        assert.equal(ada.heard.some(([event]) => event === 'private_message'), false);
    }],
    ['the room says who is there', async () => {
        const { room, members, people } = await bob.asks('room_info', {});
        assert.deepEqual([room, members, people['1'], people['2']], ['general', 2, { username: 'Ada', status: 'away' }, { username: 'Bob', status: 'busy' }]);
    }],
    ['what is wrong is answered with a code, a text and details', async () => {
        const error = async (event, payload) => { const { code, message, details } = await bob.asks(event, payload); return [code, message, details]; };
        assert.deepEqual(await error('message', { text: ' ' }), [400, 'a message has at least one character', undefined]);
        assert.deepEqual((await error('message', { text: 'x'.repeat(501) }))[0], 413);
        assert.deepEqual(await error('private_message', { to: '9', text: 'psst' }), [404, 'nobody of this id is here', { to: '9' }]);
        assert.deepEqual(await error('dance', {}), [404, 'no handler for this event', { event: 'dance' }]);
        const [code, , details] = await error('status_update', { status: 'dancing' });
        assert.deepEqual([code, details.field], [400, 'status']);
    }],
    ['a room for admins declines others', async () => {
        const eve = await Person.in('staff', 'eve-secret');
        await eve.hears('DECLINED');
        eve.client.disconnect();
        const boss = await Person.in('staff', 'ada-secret');
        await boss.hears('welcome');
        boss.client.disconnect();
    }],
    ['the endpoint takes a token by query or by header, and no other', async () => {
        const by = (query, headers) => handshake(`${server.url}/api/socket${query}`, headers);
        assert.deepEqual(await Promise.all([by('?token=ada-secret'), by('', { Authorization: 'Bearer ada-secret' })]), [101, 101]);
        assert.deepEqual(await Promise.all([by(''), by('?token=wrong'), by('', { Authorization: 'Bearer wrong' })]), [401, 403, 403]);
    }],
    ['who goes is told to the others', async () => {
        bob.client.disconnect();
        assert.equal((await ada.hears('user_left')).user.username, 'Bob');
        await ada.hears('people', (people) => people.length === 1);
    }],
    ['SIGTERM ends the server', async () => {
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
        ada.client.disconnect();
    }],
];

await run(checks, async () => { server.child.kill('SIGKILL'); });
process.exit();
