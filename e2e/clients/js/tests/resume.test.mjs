// The published client with resume.js: what it misses while it is away is replayed, once and in order.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SSEClient } from '@eleven-am/pondsocket-client';
import { Resume } from '../../../../examples/page/js/resume.js';
import { ContractServer } from '../support/contract.mjs';
import '../support/events.mjs';
import { Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { startRedis } from '../support/redis.mjs';
import { historyRoom, server } from '../support/server.mjs';
import { settle, until } from '../support/wait.mjs';

/** The messages that a channel of the contract server keeps. */
const KEPT = 256;

/** A peer that resumes, behind a proxy of its own. Its log has the numbers that it received, and `gap REASON` for each gap. */
class Resuming {
    log = [];
    /** Called after each number. */
    onNumber = () => {};

    static async joined (t, name, room, { Client, target = server, params = {} } = {}) {
        const one = new Resuming();
        one.proxy = await Proxy.start(t, target);
        const url = new URL(one.proxy.url);
        if (Client === SSEClient) url.protocol = 'http:';
        one.peer = await Peer.connected(t, name, { Client, url });
        one.resume = new Resume({ username: name, ...params }, { onGap: (reason) => one.log.push(`gap ${reason}`) });
        one.peer.choose(room, one.resume.params).onMessage(one.resume.messages((event, payload) => {
            if (payload.n === undefined) return;
            one.log.push(payload.n);
            one.onNumber(payload.n);
        }));
        one.peer.channel.join();
        await one.peer.reaches('JOINED');
        return one;
    }

    receives (n) { return until(`${this.peer.name} receives ${n}`, () => this.log.includes(n), 25_000); }

    /** Ends the connection, and lets the client reconnect when `meanwhile` has ended. */
    async awayDuring (meanwhile) {
        this.proxy.refuses = true;
        this.proxy.cut();
        await this.peer.reaches('STALLED');
        await meanwhile();
        this.proxy.refuses = false;
        await until(`${this.peer.name} is back`, () => this.peer.channel.channelState === 'JOINED', 20_000);
    }
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => from + n);

/** Sends these numbers, and waits until the sender has received them. */
async function say (sender, from, to) {
    for (const n of numbers(from, to)) sender.send('message', { n });
    await until(`${to} have been said`, () => sender.received('message').some(({ n }) => n === to - 1));
}

test('a gap of a page that read too slowly: it is told, and goes on behind the gap', () => {
    const log = [];
    const resume = new Resume({ name: 'ada' }, { onGap: (reason) => log.push(`gap ${reason}`) });
    const receive = resume.messages((event, payload) => log.push(`${event} ${payload.n}`));
    receive('message', { n: 1, _pos: '7kq2fw.1' });
    receive('RESYNC', { position: '7kq2fw.40', gap: 'trimmed' });
    assert.equal(resume.params.$resume, '7kq2fw.40');
    // What was on its way is known to be missing, and a message of the application is none of the server.
    receive('message', { n: 40, _pos: '7kq2fw.40' });
    receive('message', { n: 41, _pos: '7kq2fw.41' });
    receive('RESYNC', { n: 42, _pos: '7kq2fw.42', position: '7kq2fw.9', gap: 'trimmed' });
    assert.deepEqual(log, ['message 1', 'gap trimmed', 'message 41', 'RESYNC 42']);
    assert.equal(resume.params.$resume, '7kq2fw.42');
});

test('a gap whose replay does not arrive: the next join is told of a gap again', () => {
    const log = [];
    const resume = new Resume({ name: 'ada' }, { onGap: (reason) => log.push(`gap ${reason}`) });
    const receive = resume.messages((event, payload) => { if (event === 'message') log.push(payload.n); });
    receive('message', { n: 4, _pos: '7kq2fw.4' });
    receive('ACKNOWLEDGE', { position: '9ab1cd.15', recovered: false, gap: 'epoch', replayed: 2 });
    assert.doesNotMatch(resume.params.$resume, /^$|\./, 'neither a position nor that of a newcomer');
    // The connection is cut here, and 50 messages are sent before the next one.
    receive('ACKNOWLEDGE', { position: '9ab1cd.65', recovered: false, gap: 'epoch', replayed: 2 });
    receive('message', { n: 64, _pos: '9ab1cd.64' });
    assert.equal(resume.params.$resume, '9ab1cd.64');
    // A server that has lost the last messages gives their positions again.
    receive('ACKNOWLEDGE', { position: '9ab1cd.9', recovered: false, gap: 'ahead', replayed: 1 });
    receive('message', { n: 9, _pos: '9ab1cd.9' });
    assert.deepEqual(log, [4, 'gap epoch', 'gap epoch', 64, 'gap ahead', 9]);
});

test('resume: through dozens of cuts six clients receive every message, once and in one order', async (t) => {
    const [room, last] = [historyRoom(), 1200];
    const sender = await Peer.joined(t, 'sender', room);
    const transports = [undefined, undefined, undefined, SSEClient, SSEClient, SSEClient];
    const receivers = await Promise.all(transports.map((Client, at) => Resuming.joined(t, `receiver ${at}`, room, { Client })));
    let cuts = 0;
    for (const [at, receiver] of receivers.entries()) {
        // Each at other numbers, which are the same in each run.
        receiver.onNumber = (n) => {
            if (n % (110 + 13 * at) === 50) {
                receiver.proxy.cut();
                cuts++;
            }
        };
    }
    for (let n = 0; n < last; n++) {
        // Nobody falls behind what is kept, however slow the machine is.
        await until('all follow', () => receivers.every(({ log }) => n - log.length < KEPT - 20), 25_000);
        sender.send(n % 7 ? 'message' : 'others', { n });
        sender.send('typing', {});
    }
    await Promise.all(receivers.map((receiver) => receiver.receives(last - 1)));
    await settle();
    for (const receiver of receivers) assert.deepEqual(receiver.log, numbers(0, last), receiver.peer.name);
    t.diagnostic(`${cuts} cuts`);
});

test('resume: a client that was away for longer than messages are kept is told so, and gets the last ones', async (t) => {
    const room = historyRoom();
    const sender = await Peer.joined(t, 'sender', room);
    const [bare, wanting] = await Promise.all([
        Resuming.joined(t, 'bare', room),
        Resuming.joined(t, 'wanting', room, { params: { last: 3 } }),
    ]);
    await say(sender, 0, 5);
    await Promise.all([bare, wanting].map((one) => one.receives(4)));
    await Promise.all([bare, wanting].map((one) => one.awayDuring(() => say(sender, 5, 5 + KEPT + 1))));
    await say(sender, 1000, 1003);
    await Promise.all([bare, wanting].map((one) => one.receives(1002)));
    const end = 5 + KEPT + 1;
    assert.deepEqual(bare.log, [...numbers(0, 5), 'gap trimmed', ...numbers(1000, 1003)]);
    assert.deepEqual(wanting.log, [...numbers(0, 5), 'gap trimmed', ...numbers(end - 3, end), ...numbers(1000, 1003)]);
    assert.equal(bare.peer.received('history').at(-1).gap, 'trimmed', 'the join handler knows it as well');
});

test('resume: a client that missed exactly what is kept gets all of it, and its join handler knows', async (t) => {
    const room = historyRoom();
    const sender = await Peer.joined(t, 'sender', room);
    const one = await Resuming.joined(t, 'one', room, { params: { last: 3 } });
    await say(sender, 0, 5);
    await one.receives(4);
    await one.awayDuring(() => say(sender, 5, 5 + KEPT));
    await one.receives(4 + KEPT);
    assert.deepEqual(one.log, numbers(0, 5 + KEPT));
    const { recovery, missed } = one.peer.received('history').at(-1);
    assert.deepEqual([recovery, missed], ['resumed', KEPT]);
});

test('resume: a client that does not know what it has received is told that something is missing', async (t) => {
    const room = historyRoom();
    const sender = await Peer.joined(t, 'sender', room);
    const one = await Resuming.joined(t, 'one', room, { params: { last: 2 } });
    await say(sender, 0, 5);
    await one.receives(4);
    // As behind a gap whose replay was cut off.
    one.resume.params.$resume = 'unknown';
    await one.awayDuring(() => say(sender, 5, 10));
    await one.receives(9);
    assert.deepEqual(one.log, [...numbers(0, 5), 'gap epoch', 8, 9]);
});

test('resume: a newcomer gets the last messages only if it asks for them', async (t) => {
    const room = historyRoom();
    const sender = await Peer.joined(t, 'sender', room);
    await say(sender, 0, 5);
    const bare = await Resuming.joined(t, 'bare', room);
    const wanting = await Resuming.joined(t, 'wanting', room, { params: { last: 2 } });
    await say(sender, 5, 6);
    await Promise.all([bare, wanting].map((one) => one.receives(5)));
    assert.deepEqual([bare.log, wanting.log], [[5], [3, 4, 5]]);
});

test('resume: after a restart of the server the client is told that positions are of another epoch', async (t) => {
    const [contract, room] = [await ContractServer.start(t), historyRoom()];
    const one = await Resuming.joined(t, 'one', room, { target: contract.url });
    const sender = await Peer.joined(t, 'sender', room, { url: contract.url });
    await say(sender, 0, 3);
    await one.receives(2);
    await one.awayDuring(() => contract.restart());
    await sender.reaches('JOINED');
    await say(sender, 3, 5);
    await one.receives(4);
    assert.deepEqual(one.log, [...numbers(0, 3), 'gap epoch', 3, 4]);
});

test('resume: with a history file no client misses a message for a restart, and none comes twice', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'histories-'));
    t.after(() => rm(folder, { recursive: true }));
    const contract = await ContractServer.start(t, { HISTORY_FILE: join(folder, 'file') });
    const [target, room] = [contract.url, historyRoom()];
    const knowing = await Promise.all([undefined, SSEClient].map((Client, at) => {
        return Resuming.joined(t, `knowing ${at}`, room, { Client, target });
    }));
    // The client as it is, with a session: it knows nothing of positions.
    const proxy = await Proxy.start(t, target);
    const query = { token: 't', session: randomUUID() };
    const unchanged = await Peer.joined(t, 'unchanged', room, { url: proxy.url, query });
    const eventsProxy = await Proxy.start(t, target);
    const url = new URL(eventsProxy.url);
    url.protocol = 'http:';
    const events = await Peer.joined(t, 'events', room, { Client: SSEClient, url, query: { token: 't', session: randomUUID() } });
    const sender = await Peer.joined(t, 'sender', room, { url: target });
    const proxies = [proxy, eventsProxy, ...knowing.map((one) => one.proxy)];
    const said = (peer = unchanged) => peer.received('message').map(({ n }) => n);
    for (const round of [0, 10, 20]) {
        await say(sender, round, round + 5);
        // They are kept out while the sender is back and goes on. The last messages are on their way when the server stops.
        for (const one of proxies) one.refuses = true;
        await contract.restart();
        await sender.reaches('JOINED');
        await say(sender, round + 5, round + 10);
        for (const one of proxies) one.refuses = false;
        await Promise.all(knowing.map((one) => one.receives(round + 9)));
        for (const peer of [unchanged, events]) {
            await until(`${peer.name} receives the last one`, () => said(peer).includes(round + 9), 25_000);
        }
    }
    await settle();
    for (const one of knowing) assert.deepEqual(one.log, numbers(0, 30), one.peer.name);
    assert.deepEqual(said(), numbers(0, 30));
    // Nothing tells the server that the end of an event stream has arrived, so it comes again.
    assert.deepEqual([...new Set(said(events))], numbers(0, 30));
});

test('resume: with a session the client as it is goes on at another node, however it comes there', async (t) => {
    const redis = await startRedis(t);
    const node = (name) => ContractServer.start(t, { REDIS_URL: redis, NODE_NAME: name });
    const moves = {
        'its connection is cut': () => { /* its node lives */ },
        'its node drains': (left) => left.end('SIGTERM'),
        'its node is killed': (left) => left.end('SIGKILL'),
    };
    const stays = await node('stays');
    for (const [what, move] of Object.entries(moves)) {
        const [left, room] = [await node(what.replaceAll(' ', '-')), historyRoom()];
        const proxies = await Promise.all([1, 2].map(() => Proxy.start(t, left.url)));
        const session = () => ({ token: 't', session: randomUUID() });
        const events = new URL(proxies[1].url);
        events.protocol = 'http:';
        const peers = [
            await Peer.joined(t, 'socket', room, { url: proxies[0].url, query: session() }),
            await Peer.joined(t, 'events', room, { Client: SSEClient, url: events, query: session() }),
        ];
        const sender = await Peer.joined(t, 'sender', room, { url: stays.url });
        const said = (peer) => peer.received('message').map(({ n }) => n);
        const receive = (n) => Promise.all(peers.map((peer) => {
            return until(`${peer.name} receives ${n}: ${what}`, () => said(peer).includes(n), 25_000);
        }));
        await say(sender, 0, 5);
        await receive(4);
        for (const proxy of proxies) {
            [proxy.refuses, proxy.target] = [true, stays.url];
            proxy.cut();
        }
        await say(sender, 5, 8);
        await move(left);
        await say(sender, 8, 10);
        for (const proxy of proxies) proxy.refuses = false;
        await receive(9);
        await say(sender, 10, 12);
        await receive(11);
        await settle();
        for (const peer of peers) {
            assert.deepEqual([...new Set(said(peer))], numbers(0, 12), `${peer.name}: ${what}`);
            // Once behind the repeats of what may have arrived before.
            assert.deepEqual(said(peer).slice(-7), numbers(5, 12), `${peer.name}: ${what}`);
        }
    }
});

test('resume: the position follows what the application has received, whatever arrives or does not', () => {
    const [log, gaps] = [[], []];
    const resume = new Resume({ name: 'ada' }, { onGap: (reason) => gaps.push(reason) });
    const receive = resume.messages((event, payload) => log.push(payload.n ?? event));
    const position = () => resume.params.$resume;
    const acknowledge = (payload) => receive('ACKNOWLEDGE', payload);
    const message = (offset, epoch = '00000a') => receive('message', { n: offset, _pos: `${epoch}.${offset}` });
    assert.deepEqual(resume.params, { name: 'ada', $resume: '' });

    acknowledge({ position: '00000a.9', recovered: false, replayed: 2 });
    assert.equal(position(), '', 'a replay that is cut off is asked for again');
    message(8);
    acknowledge({ position: '00000a.10', recovered: true, missed: 2 });
    assert.equal(position(), '00000a.8');
    for (const offset of [8, 9, 10, 9]) message(offset);
    receive('message', { n: 'not kept' });
    assert.equal(position(), '00000a.10');
    acknowledge({ position: '00000a.15', recovered: true, missed: 0 });
    assert.equal(position(), '00000a.15', 'all messages up to there were its own');
    acknowledge({});
    acknowledge({ position: '00000b.2', recovered: false, gap: 'epoch' });
    assert.equal(position(), '00000b.2');
    message(3, '00000b');
    acknowledge({ position: '00000b.2', recovered: false, gap: 'ahead', replayed: 1 });
    message(2, '00000b');
    assert.equal(position(), '00000b.2');
    const seen = log.filter((entry) => entry !== 'ACKNOWLEDGE');
    assert.deepEqual([seen, gaps], [[8, 9, 10, 'not kept', 3, 2], ['epoch', 'ahead']]);
});
