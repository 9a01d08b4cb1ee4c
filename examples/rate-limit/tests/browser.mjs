// Limits in headless Chromium: they bite, and the page shows it.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch, openPage } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';

const server = await Server.start('rate-limit');
const browser = await launch();

/** Somebody with a window. */
async function open () {
    const window = await openPage(browser);
    await window.page.goto(server.url);
    await window.page.locator('#connection[data-state=connected]').waitFor();
    await window.page.locator('[data-event=ping] .rate', { hasText: '8 at once' }).waitFor();
    return window;
}

const verdict = ({ page }, event, text) => page.locator(`[data-event=${event}] .verdict`, { hasText: text }).waitFor();
const send = ({ page }, event, times = 1) => page.click(`[data-event=${event}] [data-times="${times}"]`);
const rows = ({ page }, event, outcome) => page.locator(`#log li[data-outcome=${outcome}]`, { has: page.locator('code', { hasText: event }) });
const counts = ({ page }, id, least) => page.waitForFunction(([id, least]) => Number(document.getElementById(id).textContent) >= least, [id, least]);

const ada = await open();
const bob = await open();
const checks = [
    ['an event is answered, counted and timed', async () => {
        await send(ada, 'ping');
        await verdict(ada, 'ping', 'done');
        await counts(ada, 'done', 1);
        await bob.page.waitForFunction(() => document.getElementById('median').textContent !== '–');
    }],
    ['whoever sends too often is refused, and told when to come again', async () => {
        await send(ada, 'ping', 20);
        await verdict(ada, 'ping', /429 rate limit exceeded: again in 0\.\d s/);
        await ada.page.waitForFunction(() => document.querySelectorAll('#log li').length === 21);
        const refused = await rows(ada, 'ping', 'refused').count();
        assert.ok(refused >= 1 && await rows(ada, 'ping', 'done').count() >= 8, `${refused} refused`);
        await counts(bob, 'refused', refused);
    }],
    ['each event has a limit of its own, and each connection', async () => {
        await send(ada, 'search', 5);
        await verdict(ada, 'search', '429');
        await send(bob, 'search');
        await verdict(bob, 'search', 'done');
        assert.equal(await rows(bob, 'search', 'refused').count(), 0);
    }],
    ['after a while it works again', async () => {
        await ada.page.waitForFunction(() => [...document.querySelectorAll('[data-event=ping] .bucket i')].every((drop) => drop.style.getPropertyValue('--full') === '100%'));
        await send(ada, 'ping');
        await verdict(ada, 'ping', /^done$/);
    }],
    ['an error that a handler means is told as it is', async () => {
        await send(ada, 'fail');
        await verdict(ada, 'fail', '409 somebody else was faster');
    }],
    ['a handler that panics hurts nobody: it is answered with a number, and counted', async () => {
        await send(ada, 'panic');
        await verdict(ada, 'panic', '500 something went wrong here: incident 1');
        await send(bob, 'panic');
        await verdict(bob, 'panic', 'incident 2');
        await counts(ada, 'incidents', 2);
        await send(ada, 'search', 5);
        await send(bob, 'ping');
        await verdict(bob, 'ping', 'done');
        await picture(ada.page, 'limits');
    }],
    ['whoever floods is closed, and the others go on', async () => {
        const closed = bob.page.locator('#connection[data-state=reconnecting]').waitFor();
        await bob.page.click('#flood');
        await closed;
        await counts(ada, 'closed', 1);
        await send(ada, 'ping');
        await verdict(ada, 'ping', 'done');
        await bob.page.locator('#connection[data-state=connected]').waitFor();
        await send(bob, 'ping');
        await verdict(bob, 'ping', 'done');
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await checkTheme(bob.page);
    }],
    ['on a phone nothing is wider than the screen', async () => {
        await bob.page.setViewportSize({ width: 390, height: 800 });
        assert.equal(await bob.page.evaluate(() => document.documentElement.scrollWidth), 390);
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const window of [ada, bob]) assert.deepEqual(window.faults, []);
    }],
    ['SIGTERM ends the server, whatever clients do not read', async () => {
        await stallResponses(server.url);
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
    }],
];

await run(checks, async () => {
    await browser.close();
    server.child.kill('SIGKILL');
});
