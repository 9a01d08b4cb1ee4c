// The game in headless Chromium: players in windows of their own.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';
import { Player } from './player.mjs';
import { join } from './wire.mjs';

/** So many that the leaderboard is full, and so few that two processors are enough for them and two windows. */
const SIMULATED = 60;

const start = (players, port) => Server.start('game', ['--players', String(players)], port);
let server = await start(0);
const browser = await launch();
const open = (name) => Player.open(browser, server.url, name);
let ada, bob;

const checks = [
    ['whoever comes is asked for a name, and told how to swim', async () => {
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.locator('#start .keys').waitFor();
        assert.notEqual(await page.inputValue('#name'), '', 'there is one already');
        await picture(page, 'start');
        await page.fill('#name', 'Somebody');
        await page.press('#name', 'Enter');
        await page.locator('#title', { hasText: 'Fry' }).waitFor();
        await page.close();
    }],
    ['two players see each other, in the pond and in the leaderboard', async () => {
        ada = await open('Ada');
        bob = await open('Bob');
        for (const player of [ada, bob]) {
            await player.counts(2);
            for (const name of ['Ada', 'Bob']) await player.findsInBoard(name);
        }
        assert.ok(ada.where(bob) && bob.where(ada));
    }],
    ['the page shows how long a message takes there and back', async () => {
        await ada.page.waitForFunction(() => Number(document.getElementById('latency').textContent) > 0);
        assert.ok(await ada.page.locator('#latency-quality[data-quality]').count());
    }],
    ['a fish swims where the keys say, and the other page sees it there', async () => {
        for (const [axis, keys] of [['x', { [-1]: 'a', 1: 'ArrowRight' }], ['y', { [-1]: 'ArrowUp', 1: 's' }]]) {
            const way = ada.roomier(axis);
            const from = ada.where(ada)[axis];
            await ada.page.keyboard.down(keys[way]);
            await bob.seesMoved(ada, axis, from, 80 * way);
            await ada.page.keyboard.up(keys[way]);
        }
    }],
    ['a finger steers, and a second one dashes', async () => {
        const eve = await Player.open(browser, server.url, 'Eve', { hasTouch: true, viewport: { width: 390, height: 800 } });
        const fingers = await eve.page.context().newCDPSession(eve.page);
        const touch = (type, ...points) => fingers.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
        const way = eve.roomier('y');
        const from = eve.where(eve).y;
        const to = 450 + 90 * way;
        await touch('touchStart', [200, 450]);
        await touch('touchMove', [200, to]);
        await bob.seesMoved(eve, 'y', from, 80 * way);
        await touch('touchStart', [200, to], [300, 600]);
        await eve.page.waitForFunction(() => parseFloat(document.getElementById('energy').style.width) < 80);
        await touch('touchEnd');
        assert.ok(await eve.page.locator('#dash').isVisible(), 'there is a button for it, too');
        assert.deepEqual(eve.faults, []);
        await eve.page.context().close();
        await bob.counts(2);
    }],
    ['what a fish eats counts, and everybody hears of a level that it reaches', async () => {
        const heard = Promise.all([ada.reads('You reached level 2: Minnow'), bob.reads('Ada reached level 2: Minnow')]);
        await ada.page.keyboard.press('p');
        await ada.reaches('score', 5);
        await heard;
        await ada.reaches('level', 2);
    }],
    ['the leaderboard is the same for all, the best first, and says to each their own rank', async () => {
        await ada.page.keyboard.press('p');
        const score = await ada.number('score');
        await bob.page.waitForFunction((score) => Number(document.querySelector('#leaders .score').textContent) >= score, score);
        await bob.page.locator('#rank', { hasText: '2 of 2' }).waitFor();
        await ada.page.locator('#rank', { hasText: '1 of 2' }).waitFor();
        assert.deepEqual((await bob.leaders()).map(({ name }) => name), ['Ada', 'Bob']);
    }],
    ['a reload goes on with the same fish', async () => {
        const score = await ada.number('score');
        await ada.page.reload();
        await ada.isIn();
        await ada.reaches('score', score);
        await ada.counts(2);
    }],
    ['positions, scores and levels come from the server, and a client gets each its own rank', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 0 }, until: ['tick', 'leaderboard'] });
        const payload = (event) => messages.find((message) => message.event === event).payload;
        assert.deepEqual([payload('welcome').score, payload('welcome').level], [0, 1]);
        assert.equal(payload('tick').fish.length % 6, 0);
        assert.deepEqual(Object.keys(payload('leaderboard')).sort(), ['players', 'rank', 'top']);
        assert.equal(payload('leaderboard').players, 3);
    }],
    ['a course that is none is answered, and the game goes on', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 'left' }, until: ['INTERNAL_ERROR', 'tick'] });
        const answer = messages.find(({ requestId }) => requestId === 'steer');
        assert.deepEqual([answer.event, answer.payload.code, answer.payload.details.field], ['INTERNAL_ERROR', 400, 'angle']);
    }],
    ['whoever sends without end is slowed down', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 0 }, times: 100, until: ['INTERNAL_ERROR'] });
        assert.equal(messages.find(({ event }) => event === 'INTERNAL_ERROR').payload.code, 429);
    }],
    ['nobody comes in without a name and a secret', async () => {
        for (const query of ['', '?name=Ada', '?name=&token=12345678', '?name=Ada&token=short', `?name=${'x'.repeat(21)}&token=12345678`]) {
            assert.equal(await handshake(`${server.url}/api/socket${query}`), 401, query);
        }
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['after a restart of the server everybody is back, among simulated players, who are clients of their own', async () => {
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((player) => player.page.locator('#connection[data-state=reconnecting]').waitFor({ state: 'attached' })));
        server = await start(SIMULATED, server.port);
        await Promise.all([ada, bob].map((player) => player.counts(SIMULATED + 2)));
        await ada.page.waitForFunction(() => document.querySelectorAll('#leaders li').length === 10);
        const scores = (await ada.leaders()).map(({ score }) => score);
        assert.deepEqual(scores, scores.toSorted((a, b) => b - a));
    }],
    ['what many reach is told in a few lines', async () => {
        await ada.page.keyboard.press('p');
        await ada.page.locator('#feed li').nth(3).waitFor();
        assert.equal(await ada.page.locator('#feed li').count(), 4);
        await picture(ada.page, 'game');
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const player of [ada, bob]) assert.deepEqual(player.faults, [], player.name);
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
