// Connecting, being refused, disconnecting.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Peer } from '../support/peer.mjs';
import { Proxy } from '../support/proxy.mjs';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom, server } from '../support/server.mjs';
import { get, UPGRADE } from '../support/upgrade.mjs';
import { settle, until } from '../support/wait.mjs';

const withToken = `${server.pathname}?token=t`;

test('connection: the client becomes CONNECTED, once', async (t) => {
    const ann = await Peer.connected(t, 'ann');
    assert.equal(ann.connections(), 1);
    assert.deepEqual(ann.errors, []);
});

test('connection: CONNECTION is the first frame, is sent once, and names the connection', async (t) => {
    const [one, two] = [await RawSocket.open(t), await RawSocket.open(t)];
    const [[first], [second]] = [await one.receives('CONNECTION'), await two.receives('CONNECTION')];
    assert.notEqual(first.payload.connectionId, second.payload.connectionId);
    await settle();
    assert.equal(one.frames.length, 1);
});

test('connection: a token is read as a form value, with + and percent signs', async (t) => {
    const socket = await RawSocket.open(t, { query: 'token=two+words%20%26%C3%A9' });
    await socket.receives('CONNECTION');
});

test('connection: a client without a token is refused, reports an error, and is never CONNECTED', async (t) => {
    // The client leaves the refused connection open; the proxy ends it with the test.
    const ann = new Peer(t, 'ann', { url: (await Proxy.start(t)).url, query: {} });
    // Once its back-off has begun, this client retries without end, even after disconnect().
    ann.client.onError(() => ann.client.disconnect());
    ann.client.connect();
    await until('an error is reported', () => ann.errors.length > 0);
    assert.equal(ann.connections(), 0);
});

for (const query of ['', '?token=', '?other=t']) {
    test(`connection: an upgrade with the query "${query}" is answered 401, as text`, async () => {
        const { status, headers, body } = await get(server.pathname + query);
        assert.equal(status, 401);
        assert.match(headers['content-type'], /^text\/plain/);
        assert.equal(headers['x-content-type-options'], 'nosniff');
        assert.match(body, /token required/);
    });
}

test('connection: an unknown path is answered 404, as text', async () => {
    const { status, headers } = await get('/no/such/endpoint?token=t');
    assert.equal(status, 404);
    assert.match(headers['content-type'], /^text\/plain/);
});

test('connection: a request that does not ask for an upgrade is answered 400 or 426', async () => {
    const { status } = await get(withToken, {});
    assert.ok([400, 426].includes(status), `status ${status}`);
});

test('connection: another WebSocket version is refused, and the answer names the right one', async () => {
    const { status, headers } = await get(withToken, { ...UPGRADE, 'Sec-WebSocket-Version': '8' });
    assert.ok([400, 426].includes(status), `status ${status}`);
    assert.equal(headers['sec-websocket-version'], '13');
});

test('connection: an upgrade without a key is refused', async () => {
    const { 'Sec-WebSocket-Key': _, ...keyless } = UPGRADE;
    const { status } = await get(withToken, keyless);
    assert.equal(status, 400);
});

test('connection: an unknown subprotocol is not selected', async () => {
    const { status, headers } = await get(withToken, { ...UPGRADE, 'Sec-WebSocket-Protocol': 'chat' });
    assert.equal(status, 101);
    assert.equal(headers['sec-websocket-protocol'], undefined);
});

test('connection: after disconnect() the client does not reconnect', async (t) => {
    const ann = await Peer.connected(t, 'ann');
    ann.client.disconnect();
    // The client's first attempt to reconnect would come after one second.
    await sleep(1600);
    assert.equal(ann.isConnected(), false);
    assert.equal(ann.connections(), 1);
});

test('connection: the client\'s own {"action":"ping"} messages are tolerated', async (t) => {
    const ann = await Peer.joined(t, 'ann', chatRoom(), { options: { pingInterval: 50 } });
    await sleep(600);
    assert.deepEqual(await ann.ask('echo', { n: 1 }), { n: 1 });
    assert.equal(ann.connections(), 1);
    assert.deepEqual(ann.errors, []);
});

for (const action of ['ping', 'PING', 'Ping']) {
    test(`connection: {"action":"${action}"} is not answered`, async (t) => {
        const socket = await RawSocket.open(t);
        await socket.receives('CONNECTION');
        socket.sendText(JSON.stringify({ action }));
        await settle();
        assert.equal(socket.frames.length, 1);
        await socket.isUsable(chatRoom());
    });
}

test('connection: a close frame is answered with its code', async (t) => {
    const socket = await RawSocket.open(t);
    await socket.receives('CONNECTION');
    socket.ws.close(1000, 'done');
    assert.equal(await socket.closed(), 1000);
});
