// The auth example in headless Chromium: the rights of an admin, a member and a guest, and tokens that expire.
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
import { Person } from './person.mjs';
import { changed, check, signIn, talk } from './wire.mjs';

const SECRET = 'the secret of this test, long enough';
const start = (lifetime, port) => Server.start('auth', ['--lifetime', String(lifetime), '--secret', SECRET], port);
/** Tokens of `server` outlast the test, those of `brief` expire during it. */
const server = await start(600);
const brief = await start(6);
const browser = await launch();
let ada, bob, gus, again;

const checks = [
    ['the page asks for an account', async () => {
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.locator('[data-account=gus]').waitFor();
        await picture(page, 'sign-in');
        await page.close();
    }],
    ['rights depend on the role and the room', async () => {
        [ada, bob, gus] = await Promise.all(['ada', 'bob', 'gus'].map((account) => Person.open(browser, server.url, account)));
        for (const [person, rights] of [[ada, ['write', 'write', 'write']], [bob, ['write', 'write', 'no entry']], [gus, ['write', 'read', 'no entry']]]) {
            assert.deepEqual(await Promise.all(['lobby', 'team', 'board'].map((room) => person.rightIn(room))), rights);
        }
    }],
    ['messages of users with the right to write reach all members', async () => {
        for (const person of [ada, bob, gus]) await person.waitForMember('Ada Lovelace, Bob Moore, Gus Young');
        await gus.sendMessage('hello from a guest');
        for (const person of [ada, bob]) await person.waitForMessage('hello from a guest');
    }],
    ['a user with the right to read receives messages, and an attempt to write is refused', async () => {
        for (const person of [ada, bob, gus]) await person.enterRoom('team');
        for (const person of [ada, bob, gus]) await person.waitForMember('Gus Young');
        await bob.sendMessage('The new rights are in.');
        await ada.waitForMessage('The new rights are in.');
        await ada.sendMessage('Good. Guests may read along here.');
        await gus.waitForMessage('Guests may read');
        await gus.sendMessage('may I?');
        await gus.waitForToast('403: your role may only read here');
        await picture(gus.page, 'read-only');
        await bob.sendMessage('after that');
        await gus.waitForMessage('after that');
        assert.equal(await ada.page.locator('.body', { hasText: 'may I?' }).count(), 0);
    }],
    ['a room that a role may not enter declines the join, and other rooms stay open', async () => {
        await bob.enterRoom('board');
        await bob.page.locator('#no-entry', { hasText: 'the role “member” may not enter #board' }).waitFor();
        await picture(bob.page, 'no-entry');
        await bob.enterRoom('team');
        await bob.waitForMember('Bob Moore');
        await ada.enterRoom('board');
        await ada.waitForMember('Ada Lovelace');
    }],
    ['a forged token is refused, and the page shows the reason', async () => {
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
    ['a socket without a valid token is refused before the upgrade', async () => {
        const token = await signIn(server.url, 'bob');
        const socket = (token) => handshake(`${server.url}/api/socket?token=${token}`);
        assert.equal(await socket(token), 101);
        for (const wrong of ['', 'nonsense', changed(token, { role: 'admin' }), changed(token, { exp: 4e9 })]) assert.equal(await socket(wrong), 401, wrong);
        assert.deepEqual(await check(server.url, changed(token, { sub: 'ada' })), [401, 'signature']);
        assert.deepEqual(await check(server.url, 'nonsense'), [401, 'malformed']);
        assert.equal(await signIn(server.url, 'nobody'), 401);
    }],
    ['rights are checked for each message, and the token of another user renews nothing', async () => {
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
        assert.ok(lasted >= 4000, `expiry is in whole seconds, and the connection ended after ${lasted} ms`);
        assert.deepEqual(await check(brief.url, token), [401, 'expired']);
        await page.close();
    }],
    ['a renewed token keeps the connection, and an expired one ends it with a reason', async () => {
        const [renewing, expiring] = await Promise.all([Person.open(browser, brief.url, 'ada'), Person.open(browser, brief.url, 'bob', { renews: false })]);
        await renewing.waitForMember('Bob Moore');
        await renewing.page.evaluate(() => {
            const connection = document.getElementById('connection');
            window.states = [];
            new MutationObserver(() => window.states.push(connection.dataset.state)).observe(connection, { attributes: true });
        });
        await expiring.waitForRefusal('401 expired', 'the token has expired');
        await picture(expiring.page, 'expired');
        await renewing.page.waitForFunction(() => Number(document.getElementById('renewals').textContent) >= 2);
        assert.deepEqual(await renewing.page.evaluate(() => window.states), [], 'the connection was never interrupted');
        await renewing.sendMessage('still here');
        await renewing.waitForMessage('still here');
        await picture(renewing.page, 'renewed');
        await expiring.page.click('#back');
        await expiring.signIn('bob');
        await renewing.waitForMember('Bob Moore');
        for (const person of [renewing, expiring]) { assert.deepEqual(person.faults, []); await person.context.close(); }
    }],
    ['tokens stay valid after a restart with the same secret', async () => {
        await server.end('SIGKILL');
        await ada.page.locator('#connection[data-state=reconnecting]').waitFor();
        again = await start(600, server.port);
        for (const person of [ada, bob, gus]) await person.waitForConnection();
        await bob.enterRoom('lobby');
        await gus.enterRoom('lobby');
        await bob.waitForMember('Gus Young');
        await bob.sendMessage('back again');
        await gus.waitForMessage('back again');
    }],
    ['the theme follows the system until the user chooses one', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const person of [ada, bob, gus]) assert.deepEqual(person.faults, []);
    }],
    ['SIGTERM ends the server although a client reads no responses', async () => {
        await stallResponses(again.url);
        assert.deepEqual(await again.end('SIGTERM'), [0, null]);
    }],
];

await run(checks, async () => {
    await browser.close();
    for (const each of [server, brief, again]) each?.child.kill('SIGKILL');
});
