// The published client in Chromium, in pages of another origin than the server.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { Proxy } from '../support/proxy.mjs';
import { chatRoom, server } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';
import { serveSite } from './site.mjs';
import { Tab } from './tab.mjs';

let browser;
before(async () => {
    // Chromium has no sandbox for root, the user of build machines.
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
});
after(() => browser?.close());

/** Opens tabs in a new browser profile. A test fails at its end if one of its pages has thrown an error. */
async function tabs (t) {
    const page = await serveSite(t);
    const context = await browser.newContext();
    const opened = [];
    t.after(async () => {
        assert.deepEqual(opened.flatMap((tab) => tab.errors), [], 'thrown in a page');
        await context.close();
    });
    return async (url = server, query) => {
        const tab = await Tab.open(context, page, url, query);
        opened.push(tab);
        return tab;
    };
}

/** Two tabs that have joined a new room and see each other. */
async function pair (t) {
    const open = await tabs(t);
    const [ann, bob, room] = [await open(), await open(), chatRoom()];
    await ann.joined(room, 'ann');
    await bob.joined(room, 'bob');
    await Promise.all([ann.sees('ann', 'bob'), bob.sees('ann', 'bob')]);
    return [ann, bob, room];
}

test('chromium: connects and joins', async (t) => {
    const open = await tabs(t);
    const ann = await open();
    await ann.joined(chatRoom(), 'ann');
    assert.equal((await ann.get('connection')).filter((state) => state === 'connected').length, 1);
    assert.deepEqual((await ann.get('states')).filter((state) => state !== 'IDLE'), ['JOINING', 'JOINED']);
});

test('chromium: a client without a token is refused and reports an error', async (t) => {
    const open = await tabs(t);
    const ann = await open(server, {});
    await ann.page.evaluate(() => window.user.client.connect());
    await ann.until(() => window.user.errors > 0);
    assert.equal((await ann.get('connection')).includes('connected'), false);
});

test('chromium: a decline and an unknown channel make the channel DECLINED', async (t) => {
    const open = await tabs(t);
    const ann = await open();
    await ann.connect();
    await ann.join(chatRoom(), {});
    await ann.reaches('DECLINED');
    await ann.join('/nowhere/1', { username: 'ann' });
    await ann.reaches('DECLINED');
    await ann.join(chatRoom(), { username: 'ann' });
    await ann.reaches('JOINED');
});

test('chromium: messages reach all, in order', async (t) => {
    const [ann, bob] = await pair(t);
    await ann.page.evaluate(() => { for (let n = 0; n < 200; n++) window.user.channel.sendMessage('message', { n }); });
    for (const tab of [ann, bob]) {
        assert.deepEqual((await tab.received('message', 200)).map(({ n }) => n), Array.from({ length: 200 }, (_, n) => n));
    }
});

test('chromium: unicode and 256 KiB arrive as sent', async (t) => {
    const [ann, bob] = await pair(t);
    const payload = { text: 'é 日本語 👩‍👩‍👧‍👦 \u0000 \u2028 " \\ \n', long: 'é€x'.repeat(256 * 1024 / 6) };
    await ann.send('message', payload);
    assert.deepEqual(await bob.received('message', 1), [payload]);
});

test('chromium: presence follows joins, updates and leaves', async (t) => {
    const [ann, bob] = await pair(t);
    assert.deepEqual(await ann.get('joins'), ['ann', 'bob']);
    await bob.send('status', { status: 'away' });
    await ann.until(() => window.user.channel.presence.some((presence) => presence.status === 'away'));
    await bob.page.close();
    await ann.sees('ann');
    assert.deepEqual(await ann.get('leaves'), ['bob']);
});

test('chromium: requests get their replies, and errors', async (t) => {
    const [ann, bob] = await pair(t);
    const replies = await ann.page.evaluate(() => Promise.all(
        Array.from({ length: 20 }, (_, n) => window.user.channel.sendForResponse('echo', { n })),
    ));
    assert.deepEqual(replies.map(({ n }) => n), Array.from({ length: 20 }, (_, n) => n));
    assert.equal((await bob.ask('fail', {})).code, 422);
});

test('chromium: leave ends the deliveries, join begins them again', async (t) => {
    const [ann, bob, room] = await pair(t);
    await bob.page.evaluate(() => window.user.channel.leave());
    await ann.sees('ann');
    await ann.send('message', { n: 1 });
    await ann.received('message', 1);
    await settle();
    assert.deepEqual(await bob.received('message', 0), []);
    await bob.join(room, { username: 'bob' });
    await ann.sees('ann', 'bob');
    await ann.send('message', { n: 2 });
    assert.deepEqual(await bob.received('message', 1), [{ n: 2 }]);
});

test('chromium: after a cut connection the client reconnects and joins again', async (t) => {
    const proxy = await Proxy.start(t);
    const open = await tabs(t);
    const [ann, bob, room] = [await open(), await open(proxy.url), chatRoom()];
    await ann.joined(room, 'ann');
    await bob.joined(room, 'bob');
    await ann.sees('ann', 'bob');
    proxy.cut();
    await bob.until(() => window.user.states.includes('STALLED'));
    await bob.reaches('JOINED');
    await Promise.all([ann.sees('ann', 'bob'), bob.sees('ann', 'bob')]);
    await ann.send('message', { of: 'ann' });
    assert.deepEqual(await bob.received('message', 1), [{ of: 'ann' }]);
    await bob.send('message', { of: 'bob' });
    assert.deepEqual(await ann.received('message', 2), [{ of: 'ann' }, { of: 'bob' }]);
});
