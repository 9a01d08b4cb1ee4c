// Event streams through a proxy that compresses: express with `compression`, as many have it in front of their servers.

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

test('compression: an event comes at once through express', async (t) => {
    const proxy = await compressing(t);
    const text = await fetch(`${proxy}/text`);
    assert.ok(text.headers.get('content-encoding'), 'it does compress');
    await text.text();
    const abort = new AbortController();
    t.after(() => abort.abort());
    const headers = { Accept: 'text/event-stream' };
    const stream = await fetch(`${proxy}${server.pathname}?token=t`, { headers, signal: abort.signal });
    assert.equal(stream.headers.get('cache-control'), 'no-cache, no-transform');
    assert.equal(stream.headers.get('content-encoding'), null);
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    let heard = '';
    const hears = async (what) => {
        while (!heard.includes(what)) heard += (await reader.read()).value ?? assert.fail(`it ended before ${what}`);
    };
    await hears('CONNECTION');
    const room = chatRoom();
    const ann = await RawSocket.joined(t, room, 'ann');
    const id = stream.headers.get('x-connection-id');
    const message = (action, event, payload) =>
        JSON.stringify({ action, event, channelName: room, requestId: event, payload });
    const post = (body) => fetch(`${proxy}${server.pathname}`, {
        method: 'POST', headers: { 'X-Connection-ID': id, 'Content-Type': 'application/json' }, body,
    });
    assert.equal((await post(message('JOIN_CHANNEL', 'JOIN_CHANNEL', { username: 'bob' }))).status, 202);
    await hears('ACKNOWLEDGE');
    // The next thing is said only when the last one was heard: what is held back would be held back for ever.
    for (let n = 0; n < 10; n++) {
        ann.send('BROADCAST', 'message', room, { number: `number ${n}` });
        await hears(`number ${n}`);
    }
});
