// A client joins many channels at once, and rejoins all of them.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { ContractServer } from '../support/contract.mjs';
import { Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { until } from '../support/wait.mjs';

const tally = (channels) => {
    const states = {};
    for (const { channelState } of channels) states[channelState] = (states[channelState] ?? 0) + 1;
    return states;
};

const allAre = (state, channels) => until(`all are ${state}`, () => tally(channels)[state] === channels.length, 25000)
    .catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(tally(channels))}`); });

/** Joins `count` channels of a kind at once. */
async function joinMany (t, kind, count, url) {
    const peer = await Peer.connected(t, 'ann', { url });
    const channels = Array.from({ length: count }, (_, n) => {
        return peer.client.createChannel(`/${kind}/many-${process.pid}-${count}-${n}`, { username: 'ann' });
    });
    for (const channel of channels) channel.join();
    await allAre('JOINED', channels);
    return { peer, channels };
}

async function areUsable (channels) {
    const replies = await Promise.all(channels.map((channel, n) => channel.sendForResponse('echo', { n })));
    assert.deepEqual(replies.map(({ n }) => n), channels.map((_, n) => n));
}

for (const kind of ['chat', 'plain', 'slow']) {
    for (const count of [100, 250]) {
        test(`many channels: ${count} of /${kind} are joined at once, and again after a cut`, async (t) => {
            const proxy = await Proxy.start(t);
            const { peer, channels } = await joinMany(t, kind, count, proxy.url);
            proxy.cut();
            await until('the client is connected again', () => peer.connections() === 2, 25000);
            await allAre('JOINED', channels);
            await areUsable(channels);
        });
    }
}

for (const count of [100, 250]) {
    test(`many channels: ${count} are joined again after a restart of the server`, async (t) => {
        const contract = await ContractServer.start(t);
        const { peer, channels } = await joinMany(t, 'slow', count, contract.url);
        await contract.restart();
        await until('the client is connected again', () => peer.connections() === 2, 25000);
        await allAre('JOINED', channels);
        await areUsable(channels);
    });
}
