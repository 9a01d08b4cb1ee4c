// A token as a subprotocol, the only header of a WebSocket that browsers let a page set.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket as Undici } from 'undici';
import Ws from 'ws';
import { server } from '../support/server.mjs';
import { get, UPGRADE } from '../support/upgrade.mjs';

const url = `ws://${server.host}/api/token`;

/** Opens a socket. Returns the agreed subprotocol and the user of the server. */
function open (Client, protocols) {
    return new Promise((resolve, reject) => {
        const socket = new Client(url, protocols);
        socket.onerror = () => reject(new Error('refused'));
        socket.onmessage = ({ data }) => {
            const { event, payload } = JSON.parse(data);
            if (event !== 'HELLO') return;
            socket.close();
            resolve({ agreed: socket.protocol, user: payload.user });
        };
    });
}

for (const [name, Client] of [['ws', Ws], ['undici', Undici]]) {
    test(`subprotocols: ${name} sends a token, and the server selects another value`, async () => {
        assert.deepEqual(await open(Client, ['pond', 'token.abc-._~9']), { agreed: 'pond', user: 'abc-._~9' });
        assert.deepEqual(await open(Client, ['token.x', 'pond', 'more']), { agreed: 'pond', user: 'x' });
        await assert.rejects(open(Client, ['pond']), 'without a token');
        await assert.rejects(open(Client, ['token.abc']), 'none of the offered values is selected');
    });
}

test('subprotocols: the token is never part of an answer', async () => {
    const ask = (protocol) => get('/api/token', { ...UPGRADE, ...(protocol && { 'Sec-WebSocket-Protocol': protocol }) });
    const { status, headers } = await ask('token.secret, pond');
    assert.deepEqual([status, headers['sec-websocket-protocol']], [101, 'pond']);
    const alone = await ask('token.secret');
    assert.equal(alone.status, 101);
    assert.equal('sec-websocket-protocol' in alone.headers, false);
    assert.equal(JSON.stringify(alone.headers).includes('secret'), false);
    assert.equal((await ask('pond')).status, 401);
});

test('subprotocols: a raw WebSocket selects a known one', async () => {
    const raw = async (protocol) => (await get('/echo', { ...UPGRADE, 'Sec-WebSocket-Protocol': protocol })).headers;
    assert.equal((await raw('token.a, pond'))['sec-websocket-protocol'], 'pond');
    assert.equal('sec-websocket-protocol' in await raw('token.a'), false);
});
