// Event streams through a proxy that compresses: express with `compression`, a common front of servers.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import compression from 'compression';
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom, server } from '../support/server.mjs';

async function compressing (t) {
    const app = express();
    app.use(compression({ threshold: 0 }));
    app.get('/text', (_, response) => response.type('text').send('x'.repeat(1000)));
    app.use(createProxyMiddleware({ target: `http://${server.host}` }));
    const proxy = await new Promise((resolve) => { const listening = app.listen(0, '127.0.0.1', () => resolve(listening)); });
    t.after(() => { proxy.close(); proxy.closeAllConnections(); });
    return `http://127.0.0.1:${proxy.address().port}`;
}

test('compression: an event passes express at once', async (t) => {
    const proxy = await compressing(t);
    const text = await fetch(`${proxy}/text`);
    assert.ok(text.headers.get('content-encoding'), 'the proxy compresses');
    await text.text();
    const abort = new AbortController();
    t.after(() => abort.abort());
    const headers = { Accept: 'text/event-stream' };
    const stream = await fetch(`${proxy}${server.pathname}?token=t`, { headers, signal: abort.signal });
    assert.equal(stream.headers.get('cache-control'), 'no-cache, no-transform');
    assert.equal(stream.headers.get('content-encoding'), null);
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    let received = '';
    const waitFor = async (what) => {
        while (!received.includes(what)) received += (await reader.read()).value ?? assert.fail(`the stream ended before ${what}`);
    };
    await waitFor('CONNECTION');
    const room = chatRoom();
    const ann = await RawSocket.joined(t, room, 'ann');
    const id = stream.headers.get('x-connection-id');
    const message = (action, event, payload) =>
        JSON.stringify({ action, event, channelName: room, requestId: event, payload });
    const post = (body) => fetch(`${proxy}${server.pathname}`, {
        method: 'POST', headers: { 'X-Connection-ID': id, 'Content-Type': 'application/json' }, body,
    });
    assert.equal((await post(message('JOIN_CHANNEL', 'JOIN_CHANNEL', { username: 'bob' }))).status, 202);
    await waitFor('ACKNOWLEDGE');
    // Each message is sent after the last one was received: a proxy that buffers would never pass one on.
    for (let n = 0; n < 10; n++) {
        ann.send('BROADCAST', 'message', room, { number: `number ${n}` });
        await waitFor(`number ${n}`);
    }
});
