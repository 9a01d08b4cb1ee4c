// Tokens of a page of another origin in Chromium: as a subprotocol, and as the bearer token of a stream that is read with
// `fetch`.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { server } from '../support/server.mjs';
import { serveSite } from './site.mjs';

const origin = process.env.POND_PAGE_ORIGIN;
if (!origin) throw new Error('POND_PAGE_ORIGIN is not set: it is the origin of the page, which the server must allow');

let browser;
before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
});
after(() => browser?.close());

async function page (t, port) {
    const site = await serveSite(t, port);
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(site);
    return page;
}

/** Opens a WebSocket in a page. Returns the agreed subprotocol and the user of the server, or the close code. */
const open = ([url, protocols]) => new Promise((resolve) => {
    const socket = new WebSocket(url, protocols);
    socket.onclose = ({ code }) => resolve(code);
    socket.onmessage = ({ data }) => {
        const { event, payload } = JSON.parse(data);
        if (event === 'HELLO') resolve({ agreed: socket.protocol, user: payload.user });
    };
});

test('chromium: a token as a subprotocol', async (t) => {
    const tab = await page(t);
    const url = `ws://${server.host}/api/token`;
    assert.deepEqual(await tab.evaluate(open, [url, ['pond', 'token.abc']]), { agreed: 'pond', user: 'abc' });
    assert.equal(await tab.evaluate(open, [url, ['pond']]), 1006, 'without one it is refused');
});

test('chromium: a stream that is read with fetch and a bearer token', async (t) => {
    const tab = await page(t, Number(new URL(origin).port));
    const result = await tab.evaluate(async (url) => {
        const headers = {
            'Accept': 'text/event-stream', 'Authorization': 'Bearer abc', 'Cache-Control': 'no-cache',
            'Last-Event-ID': '7', 'X-Request-ID': '1',
        };
        const stream = await fetch(url, { headers, credentials: 'include' });
        const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = '';
        while (!text.includes('HELLO')) text += (await reader.read()).value;
        const message = {
            action: 'JOIN_CHANNEL', event: 'JOIN_CHANNEL', channelName: '/plain/tokens', requestId: 'q',
            payload: { username: 'ann' },
        };
        const id = stream.headers.get('x-connection-id');
        const posted = await fetch(url, {
            method: 'POST', body: JSON.stringify(message), credentials: 'include',
            headers: { 'Authorization': 'Bearer abc', 'Content-Type': 'application/json', 'X-Connection-ID': id },
        });
        while (!text.includes('ACKNOWLEDGE')) text += (await reader.read()).value;
        await reader.cancel();
        return [posted.status, text.includes('"user":"abc"')];
    }, `http://${server.host}/api/token`);
    assert.deepEqual(result, [202, true]);
});

test('chromium: a page of another origin opens no WebSocket with the cookies of its visitor', async (t) => {
    // Another port of the same host: a browser sends its cookies to both.
    const tab = await page(t);
    const url = `ws://localhost:${server.port}${server.pathname}?token=t`;
    const open = (url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => { socket.close(); resolve('open'); };
        socket.onclose = ({ code }) => resolve(code);
    });
    assert.equal(await tab.evaluate(open, url), 'open', 'without cookies the page has no credentials');
    await tab.context().addCookies([{ name: 'session', value: 'ann', url: 'http://localhost' }]);
    assert.equal(await tab.evaluate(open, url), 1006);
});
