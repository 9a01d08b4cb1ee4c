// The published client over an event stream in Chromium, in a page of another origin that sends credentials. The server
// must allow that origin, and reads it from the same variable.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { chatRoom, server } from '../support/server.mjs';
import { serveSite } from './site.mjs';
import { Tab } from './tab.mjs';

const origin = process.env.POND_PAGE_ORIGIN;
if (!origin) throw new Error('POND_PAGE_ORIGIN is not set: it is the origin of the page, which the server must allow');

const overEvents = new URL(server);
overEvents.protocol = 'http:';

let browser;
before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
});
after(() => browser?.close());

/** A tab over an event stream and one over a WebSocket, in a new room. */
async function pair (t, withCredentials = true) {
    const page = await serveSite(t, Number(new URL(origin).port));
    const context = await browser.newContext();
    t.after(() => context.close());
    const events = { client: 'SSEClient', options: { withCredentials } };
    const [ann, bob] = [await Tab.open(context, page, overEvents, undefined, events), await Tab.open(context, page, server)];
    const room = chatRoom();
    await ann.joined(room, 'ann');
    await bob.joined(room, 'bob');
    await Promise.all([ann.sees('ann', 'bob'), bob.sees('ann', 'bob')]);
    t.after(() => assert.deepEqual([...ann.errors, ...bob.errors], [], 'thrown in a page'));
    return [ann, bob, room];
}

for (const withCredentials of [true, false]) {
    test(`chromium, events: both receive messages of the other, credentials: ${withCredentials}`, async (t) => {
        const [ann, bob] = await pair(t, withCredentials);
        await bob.send('message', { of: 'bob', text: 'line\nbreak\r\n\n👋' });
        assert.deepEqual(await ann.received('message', 1), [{ of: 'bob', text: 'line\nbreak\r\n\n👋' }]);
        await ann.send('message', { of: 'ann' });
        assert.deepEqual(await bob.received('message', 2), await ann.received('message', 2));
        assert.equal((await ann.ask('fail', {})).code, 422);
    });
}

test('chromium, events: closing a tab and disconnecting both leave the room', async (t) => {
    const [ann, bob, room] = await pair(t);
    await ann.page.evaluate(() => window.user.client.disconnect());
    await bob.sees('bob');
    await ann.joined(room, 'ann');
    await bob.sees('ann', 'bob');
    await ann.page.close();
    await bob.sees('bob');
});
