// Rooms with rights in headless Chromium: an admin, a member and a guest, and tokens that expire.
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
import { Person } from './person.mjs';
import { changed, check, signIn, talk } from './wire.mjs';

const SECRET = 'the secret of this test, long enough';
const start = (lifetime, port) => Server.start('auth', ['--lifetime', String(lifetime), '--secret', SECRET], port);
/** Tokens of one last through the test, those of the other end in it. */
const server = await start(600);
const brief = await start(6);
const browser = await launch();
let ada, bob, gus, again;

const checks = [
    ['whoever comes is asked who they are', async () => {
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.locator('[data-account=gus]').waitFor();
        await picture(page, 'sign-in');
        await page.close();
    }],
    ['each role has rights of its own in each room', async () => {
        [ada, bob, gus] = await Promise.all(['ada', 'bob', 'gus'].map((account) => Person.open(browser, server.url, account)));
        for (const [person, rights] of [[ada, ['write', 'write', 'write']], [bob, ['write', 'write', 'no entry']], [gus, ['write', 'read', 'no entry']]]) {
            assert.deepEqual(await Promise.all(['lobby', 'team', 'board'].map((room) => person.right(room))), rights);
        }
    }],
    ['whoever may write is read by all', async () => {
        for (const person of [ada, bob, gus]) await person.isIn('Ada Lovelace, Bob Moore, Gus Young');
        await gus.says('hello from a guest');
        for (const person of [ada, bob]) await person.reads('hello from a guest');
    }],
    ['whoever may only read hears what is said, and is told that they may not answer', async () => {
        for (const person of [ada, bob, gus]) await person.enters('team');
        for (const person of [ada, bob, gus]) await person.isIn('Gus Young');
        await bob.says('The new rights are in.');
        await ada.reads('The new rights are in.');
        await ada.says('Good. Guests may read along here.');
        await gus.reads('Guests may read');
        await gus.says('may I?');
        await gus.toast('403: your role may only read here');
        await picture(gus.page, 'read-only');
        await bob.says('after that');
        await gus.reads('after that');
        assert.equal(await ada.page.locator('.body', { hasText: 'may I?' }).count(), 0);
    }],
    ['a room that is closed to a role says so, and the others stay open', async () => {
        await bob.enters('board');
        await bob.page.locator('#no-entry', { hasText: 'the role “member” may not enter #board' }).waitFor();
        await picture(bob.page, 'no-entry');
        await bob.enters('team');
        await bob.isIn('Bob Moore');
        await ada.enters('board');
        await ada.isIn('Ada Lovelace');
    }],
    ['a forged token is refused, and the page says why', async () => {
        const eve = await browser.newPage();
        await eve.goto(server.url);
        await eve.click('#forge');
        await eve.locator('#refused-title', { hasText: 'forged' }).waitFor();
        await eve.locator('#refused-code', { hasText: '401 signature' }).waitFor();
        await picture(eve, 'forged');
        await eve.click('#back');
        await eve.click('#nothing');
        await eve.locator('#refused-code', { hasText: '401 missing' }).waitFor();
        await eve.close();
    }],
    ['the socket itself lets nobody in without a valid token', async () => {
        const token = await signIn(server.url, 'bob');
        const socket = (token) => handshake(`${server.url}/api/socket?token=${token}`);
        assert.equal(await socket(token), 101);
        for (const wrong of ['', 'nonsense', changed(token, { role: 'admin' }), changed(token, { exp: 4e9 })]) assert.equal(await socket(wrong), 401, wrong);
        assert.deepEqual(await check(server.url, changed(token, { sub: 'ada' })), [401, 'signature']);
        assert.deepEqual(await check(server.url, 'nonsense'), [401, 'malformed']);
        assert.equal(await signIn(server.url, 'nobody'), 401);
    }],
    ['rights are asked at each message, and a token of somebody else renews nothing', async () => {
        const [gus, bob] = await Promise.all([signIn(server.url, 'gus'), signIn(server.url, 'bob')]);
        const { joined, answers } = await talk(ada.page, gus, 'team', [['message', { text: 'x' }], ['renew', { token: bob }], ['renew', { token: changed(gus, { role: 'admin' }) }], ['renew', { token: gus }]]);
        assert.equal(joined, 200);
        assert.deepEqual(answers, ['INTERNAL_ERROR 403 right', 'INTERNAL_ERROR 403', 'INTERNAL_ERROR 401 signature', 'renewed']);
        assert.equal((await talk(ada.page, gus, 'board', [])).joined, 403);
        assert.equal((await talk(ada.page, gus, 'attic', [])).joined, 404);
    }],
    ['a connection ends when its token expires', async () => {
        const page = await browser.newPage();
        await page.goto(brief.url);
        const token = await signIn(brief.url, 'bob');
        const { code, lasted } = await talk(page, token, 'lobby', [], true);
        assert.equal(code, 1000);
        assert.ok(lasted >= 4000, `not before its time, which is measured in whole seconds: ${lasted} ms`);
        assert.deepEqual(await check(brief.url, token), [401, 'expired']);
        await page.close();
    }],
    ['a token that is renewed keeps the connection; one that is not ends it, and the page says why', async () => {
        const [stays, goes] = await Promise.all([Person.open(browser, brief.url, 'ada'), Person.open(browser, brief.url, 'bob', { renews: false })]);
        await stays.isIn('Bob Moore');
        await stays.page.evaluate(() => {
            const connection = document.getElementById('connection');
            window.states = [];
            new MutationObserver(() => window.states.push(connection.dataset.state)).observe(connection, { attributes: true });
        });
        await goes.isRefused('401 expired', 'the token has expired');
        await picture(goes.page, 'expired');
        await stays.page.waitForFunction(() => Number(document.getElementById('renewals').textContent) >= 2);
        assert.deepEqual(await stays.page.evaluate(() => window.states), [], 'the connection has stood all the time');
        await stays.says('still here');
        await stays.reads('still here');
        await picture(stays.page, 'renewed');
        await goes.page.click('#back');
        await goes.signsIn('bob');
        await stays.isIn('Bob Moore');
        for (const person of [stays, goes]) { assert.deepEqual(person.faults, []); await person.context.close(); }
    }],
    ['after a restart with the same secret everybody goes on with the token that they have', async () => {
        await server.end('SIGKILL');
        await ada.page.locator('#connection[data-state=reconnecting]').waitFor();
        again = await start(600, server.port);
        for (const person of [ada, bob, gus]) await person.connected();
        await bob.enters('lobby');
        await gus.enters('lobby');
        await bob.isIn('Gus Young');
        await bob.says('back again');
        await gus.reads('back again');
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const person of [ada, bob, gus]) assert.deepEqual(person.faults, []);
    }],
    ['SIGTERM ends the server, whatever clients do not read', async () => {
        await stallResponses(again.url);
        assert.deepEqual(await again.end('SIGTERM'), [0, null]);
    }],
];

await run(checks, async () => {
    await browser.close();
    for (const each of [server, brief, again]) each?.child.kill('SIGKILL');
});
