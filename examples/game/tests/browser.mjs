// The game in headless Chromium, with one window for each player.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: the folder for pictures
//
// Prints one line for each check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';
import { Player } from './player.mjs';
import { join } from './wire.mjs';

/** Enough players to fill the leaderboard, and few enough for two processors that also run two windows. */
const SIMULATED = 60;

const start = (players, port) => Server.start('game', ['--players', String(players)], port);
let server = await start(0);
const browser = await launch();
const open = (name) => Player.open(browser, server.url, name);
let ada, bob;

const checks = [
    ['the page asks for a name and explains the keys', async () => {
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.locator('#start .keys').waitFor();
        assert.notEqual(await page.inputValue('#name'), '', 'the field has a suggestion');
        await picture(page, 'start');
        await page.fill('#name', 'Visitor');
        await page.press('#name', 'Enter');
        await page.locator('#title', { hasText: 'Fry' }).waitFor();
        await page.close();
    }],
    ['two players see each other in the pond and in the leaderboard', async () => {
        ada = await open('Ada');
        bob = await open('Bob');
        for (const player of [ada, bob]) {
            await player.waitForPlayers(2);
            for (const name of ['Ada', 'Bob']) await player.waitForLeader(name);
        }
        assert.ok(ada.positionOf(bob) && bob.positionOf(ada));
    }],
    ['the page shows the round-trip time of a message', async () => {
        await ada.page.waitForFunction(() => Number(document.getElementById('latency').textContent) > 0);
        assert.ok(await ada.page.locator('#latency-quality[data-quality]').count());
    }],
    ['a fish follows the keys, and the other page shows the move', async () => {
        for (const [axis, keys] of [['x', { [-1]: 'a', 1: 'ArrowRight' }], ['y', { [-1]: 'ArrowUp', 1: 's' }]]) {
            const direction = ada.freeDirection(axis);
            const from = ada.positionOf(ada)[axis];
            await ada.page.keyboard.down(keys[direction]);
            await bob.waitForMove(ada, axis, from, 80 * direction);
            await ada.page.keyboard.up(keys[direction]);
        }
    }],
    ['one finger steers, and a second one dashes', async () => {
        const eve = await Player.open(browser, server.url, 'Eve', { hasTouch: true, viewport: { width: 390, height: 800 } });
        const fingers = await eve.page.context().newCDPSession(eve.page);
        const touch = (type, ...points) => fingers.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
        const direction = eve.freeDirection('y');
        const from = eve.positionOf(eve).y;
        const to = 450 + 90 * direction;
        await touch('touchStart', [200, 450]);
        await touch('touchMove', [200, to]);
        await bob.waitForMove(eve, 'y', from, 80 * direction);
        await touch('touchStart', [200, to], [300, 600]);
        await eve.page.waitForFunction(() => parseFloat(document.getElementById('energy').style.width) < 80);
        await touch('touchEnd');
        assert.ok(await eve.page.locator('#dash').isVisible(), 'the dash has a button, too');
        assert.deepEqual(eve.faults, []);
        await eve.page.context().close();
        await bob.waitForPlayers(2);
    }],
    ['crumbs raise the score, and all players are notified of a new level', async () => {
        // Her fish may have met crumbs on its way.
        const [score, level] = [await ada.numberOf('score'), await ada.numberOf('level') + 1];
        await ada.page.keyboard.press('p');
        await Promise.all([ada.waitForNotice(`You reached level ${level}: `), bob.waitForNotice(`Ada reached level ${level}: `)]);
        await ada.waitForNumber('level', level);
        assert.ok(await ada.numberOf('score') > score);
    }],
    ['the leaderboard is ordered by score, equal for all players, and shows each player their rank', async () => {
        // More than a fish that drifts meets until the end of this check.
        await ada.waitForNumber('score', await bob.numberOf('score') + 5);
        await ada.page.keyboard.press('p');
        const score = await ada.numberOf('score');
        await bob.page.waitForFunction((score) => Number(document.querySelector('#leaders .score').textContent) >= score, score);
        await bob.page.locator('#rank', { hasText: '2 of 2' }).waitFor();
        await ada.page.locator('#rank', { hasText: '1 of 2' }).waitFor();
        assert.deepEqual((await bob.leaders()).map(({ name }) => name), ['Ada', 'Bob']);
    }],
    ['a reload keeps the fish and its score', async () => {
        const score = await ada.numberOf('score');
        await ada.page.reload();
        await ada.waitUntilPlaying();
        await ada.waitForNumber('score', score);
        await ada.waitForPlayers(2);
    }],
    ['the server sends positions, scores and levels, and each client its own rank', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 0 }, until: ['tick', 'leaderboard'] });
        const payload = (event) => messages.find((message) => message.event === event).payload;
        assert.deepEqual([payload('welcome').score, payload('welcome').level], [0, 1]);
        assert.equal(payload('tick').fish.length % 6, 0);
        assert.deepEqual(Object.keys(payload('leaderboard')).sort(), ['players', 'rank', 'top']);
        assert.equal(payload('leaderboard').players, 3);
    }],
    ['an invalid course is answered with an error, and the game goes on', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 'left' }, until: ['INTERNAL_ERROR', 'tick'] });
        const answer = messages.find(({ requestId }) => requestId === 'steer');
        assert.deepEqual([answer.event, answer.payload.code, answer.payload.details.field], ['INTERNAL_ERROR', 400, 'angle']);
    }],
    ['a client over its rate limit is refused with 429', async () => {
        const messages = await join(ada, { name: 'Wire', steer: { angle: 0 }, times: 100, until: ['INTERNAL_ERROR'] });
        assert.equal(messages.find(({ event }) => event === 'INTERNAL_ERROR').payload.code, 429);
    }],
    ['a connection without a valid name and secret is refused with 401', async () => {
        for (const query of ['', '?name=Ada', '?name=&token=12345678', '?name=Ada&token=short', `?name=${'x'.repeat(21)}&token=12345678`]) {
            assert.equal(await handshake(`${server.url}/api/socket${query}`), 401, query);
        }
    }],
    ['the theme follows the system until the user chooses one', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['after a restart of the server the players reconnect, and simulated players are further clients', async () => {
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((player) => player.page.locator('#connection[data-state=reconnecting]').waitFor({ state: 'attached' })));
        server = await start(SIMULATED, server.port);
        await Promise.all([ada, bob].map((player) => player.waitForPlayers(SIMULATED + 2)));
        await ada.page.waitForFunction(() => document.querySelectorAll('#leaders li').length === 10);
        const scores = (await ada.leaders()).map(({ score }) => score);
        assert.deepEqual(scores, scores.toSorted((a, b) => b - a));
    }],
    ['notices of many players take at most four lines', async () => {
        await ada.page.keyboard.press('p');
        await ada.page.waitForFunction(() => document.getElementById('feed').childElementCount === 4);
        await ada.waitForNumber('score', await ada.numberOf('score') + 5);
        assert.ok(await ada.page.locator('#feed li').count() <= 4);
        await picture(ada.page, 'game');
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const player of [ada, bob]) assert.deepEqual(player.faults, [], player.name);
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
