// The rate-limit example in headless Chromium: requests over a limit are refused, and the page shows it.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: the folder for pictures
//
// Prints one line for each check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch, openPage } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';

const server = await Server.start('rate-limit');
const browser = await launch();

/** Opens a window and waits until the page is connected. */
async function open () {
    const window = await openPage(browser);
    await window.page.goto(server.url);
    await window.page.locator('#connection[data-state=connected]').waitFor();
    await window.page.locator('[data-event=ping] .rate', { hasText: '8 at once' }).waitFor();
    return window;
}

const waitForVerdict = ({ page }, event, text) => page.locator(`[data-event=${event}] .verdict`, { hasText: text }).waitFor();
const send = ({ page }, event, times = 1) => page.click(`[data-event=${event}] [data-times="${times}"]`);
const rows = ({ page }, event, outcome) => page.locator(`#log li[data-outcome=${outcome}]`, { has: page.locator('code', { hasText: event }) });
const waitForCount = ({ page }, id, least) => page.waitForFunction(([id, least]) => Number(document.getElementById(id).textContent) >= least, [id, least]);

const ada = await open();
const bob = await open();
const checks = [
    ['an event is answered, counted and timed', async () => {
        await send(ada, 'ping');
        await waitForVerdict(ada, 'ping', 'done');
        await waitForCount(ada, 'done', 1);
        await bob.page.waitForFunction(() => document.getElementById('median').textContent !== '–');
    }],
    ['a client over its rate limit is refused with a retry time', async () => {
        await send(ada, 'ping', 20);
        await waitForVerdict(ada, 'ping', /429 rate limit exceeded: again in 0\.\d s/);
        await ada.page.waitForFunction(() => document.querySelectorAll('#log li').length === 21);
        const refused = await rows(ada, 'ping', 'refused').count();
        assert.ok(refused >= 1 && await rows(ada, 'ping', 'done').count() >= 8, `${refused} refused`);
        await waitForCount(bob, 'refused', refused);
    }],
    ['limits are separate for each event and each connection', async () => {
        await send(ada, 'search', 5);
        await waitForVerdict(ada, 'search', '429');
        await send(bob, 'search');
        await waitForVerdict(bob, 'search', 'done');
        assert.equal(await rows(bob, 'search', 'refused').count(), 0);
    }],
    ['an event is accepted again after the retry time', async () => {
        await ada.page.waitForFunction(() => [...document.querySelectorAll('[data-event=ping] .bucket i')].every((drop) => drop.style.getPropertyValue('--full') === '100%'));
        await send(ada, 'ping');
        await waitForVerdict(ada, 'ping', /^done$/);
    }],
    ['an error of a handler is shown with its code and text', async () => {
        await send(ada, 'fail');
        await waitForVerdict(ada, 'fail', '409 somebody else was faster');
    }],
    ['a handler that panics is answered with an incident number and counted, and affects no other client', async () => {
        await send(ada, 'panic');
        await waitForVerdict(ada, 'panic', '500 something went wrong here: incident 1');
        await send(bob, 'panic');
        await waitForVerdict(bob, 'panic', 'incident 2');
        await waitForCount(ada, 'incidents', 2);
        await send(ada, 'search', 5);
        await send(bob, 'ping');
        await waitForVerdict(bob, 'ping', 'done');
        await picture(ada.page, 'limits');
    }],
    ['a client that floods is closed, and the others continue', async () => {
        const closed = bob.page.locator('#connection[data-state=reconnecting]').waitFor();
        await bob.page.click('#flood');
        await closed;
        await waitForCount(ada, 'closed', 1);
        await send(ada, 'ping');
        await waitForVerdict(ada, 'ping', 'done');
        await bob.page.locator('#connection[data-state=connected]').waitFor();
        await send(bob, 'ping');
        await waitForVerdict(bob, 'ping', 'done');
    }],
    ['the theme follows the system until the user chooses one', async () => {
        await checkTheme(bob.page);
    }],
    ['on a phone the page fits the width of the screen', async () => {
        await bob.page.setViewportSize({ width: 390, height: 800 });
        assert.equal(await bob.page.evaluate(() => document.documentElement.scrollWidth), 390);
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const window of [ada, bob]) assert.deepEqual(window.faults, []);
    }],
    ['SIGTERM ends the server although a client reads no responses', async () => {
        await stallResponses(server.url);
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
    }],
];

await run(checks, async () => {
    await browser.close();
    server.child.kill('SIGKILL');
});
