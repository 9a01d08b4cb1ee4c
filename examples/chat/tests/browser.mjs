// The chat in headless Chromium: people in windows of their own.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { isLight, launch } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';
import { ADMIN_CODE, Person } from './person.mjs';
import { ask, signIn, whenClosed } from './wire.mjs';

const start = (port) => Server.start('chat', ['--admin-code', ADMIN_CODE], port);
let server = await start();
const browser = await launch();
const open = (name, options) => Person.open(browser, server.url, name, options);
let ada, bob, eve;

const checks = [
    ['signing in needs a name, of at most 24 characters, and the right code to be an admin', async () => {
        assert.deepEqual(await signIn(server.url, { username: 'é'.repeat(24) }), [200, undefined]);
        assert.deepEqual(await signIn(server.url, { username: 'é'.repeat(25) }), [400, 'A name has at most 24 ordinary characters.']);
        assert.deepEqual(await signIn(server.url, { username: 'ada', adminCode: 'guess' }), [400, 'That is not the admin code.']);
        assert.deepEqual(await signIn(server.url, { name: 'ada' }), [400, 'That is not how to sign in.']);
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.fill('#name', '   ');
        await page.press('#name', 'Enter');
        await page.locator('#sign-in-error', { hasText: 'Please enter a name.' }).waitFor();
        await page.fill('#name', '');
        await picture(page, 'sign-in');
        await page.close();
    }],
    ['a socket without a token, or with a wrong one, is refused before the upgrade', async () => {
        assert.equal(await handshake(`${server.url}/api/socket`), 401);
        assert.equal(await handshake(`${server.url}/api/socket?token=guess`), 401);
    }],
    ['two people sign in and see each other', async () => {
        ada = await open('Ada Lovelace', { admin: true });
        bob = await open('Bob');
        await ada.sees('Bob');
        await bob.sees('Ada Lovelace');
        await ada.connection('connected');
    }],
    ['messages go both ways, in order', async () => {
        for (const text of ['one', 'two', 'three']) await ada.says(text);
        await bob.reads('three');
        await bob.says('four');
        await ada.reads('four');
        for (const person of [ada, bob]) assert.deepEqual(await person.texts(), ['one', 'two', 'three', 'four']);
    }],
    ['what people write is text, not markup', async () => {
        await ada.says('<img src=x onerror="alert(1)"> & <b>bold</b>');
        await bob.reads('<b>bold</b>');
        assert.equal(await bob.page.locator('#messages img, #messages b').count(), 0);
    }],
    ['typing is shown, and gone when it ends', async () => {
        await ada.page.locator('#text').pressSequentially('hm');
        const line = bob.page.locator('#typing', { hasText: 'Ada Lovelace is typing' });
        await line.waitFor();
        await ada.page.fill('#text', '');
        await line.waitFor({ state: 'detached' });
        await ada.page.locator('#text').pressSequentially('well');
        await line.waitFor();
        await ada.page.press('#text', 'Enter');
        await line.waitFor({ state: 'detached' });
        await bob.reads('well');
    }],
    ['a status is shown to the others, and kept in the next room', async () => {
        for (const status of ['away', 'offline', 'busy']) {
            await bob.page.selectOption('#my-status', status);
            await ada.sees('Bob', status);
        }
        await bob.page.click('[data-room=random]');
        await ada.misses('Bob');
        await bob.sees('Bob', 'busy');
        await bob.page.click('[data-room=general]');
        await ada.sees('Bob', 'busy');
    }],
    ['an empty and a too long message are answered with the reason', async () => {
        await bob.says('   ');
        await bob.toast('A message needs some text.');
        await bob.says('x'.repeat(1001));
        await bob.toast('A message has at most 1000 characters, not 1001.');
        assert.equal((await bob.page.inputValue('#text')).length, 1001, 'the text stays');
        await bob.page.fill('#text', '');
    }],
    ['a private message is for one alone', async () => {
        eve = await open('Eve');
        await ada.whispers('Bob', 'just for you');
        await bob.reads('just for you');
        await ada.reads('just for you');
        for (const person of [ada, bob]) assert.equal(await person.page.locator('.message.private').count(), 1);
        await ada.says('for everybody');
        await eve.reads('for everybody');
        assert.ok(!(await eve.texts()).includes('just for you'));
    }],
    ['who comes later sees the last messages', async () => {
        assert.deepEqual((await eve.texts()).slice(0, 4), ['one', 'two', 'three', 'four']);
    }],
    ['rooms are apart, and a reload keeps both the room and the person', async () => {
        await eve.page.fill('#new-room-name', 'Deep End!');
        await eve.page.press('#new-room-name', 'Enter');
        await bob.misses('Eve');
        await eve.says('in another room');
        await eve.reads('in another room');
        await eve.page.reload();
        await eve.reads('in another room');
        assert.equal(await eve.page.textContent('#room-name'), 'Deep end');
        await eve.page.click('[data-room=general]');
        await bob.sees('Eve');
        assert.ok(!(await bob.texts()).includes('in another room'));
    }],
    ['mistakes are answered under the name of the event, with a code', async () => {
        const answers = await ask(bob, 'mistakes', [
            ['message', { text: ' \n ' }],
            ['message', { text: '🌊'.repeat(1001) }],
            ['message', { text: 5 }],
            ['message', {}],
            ['private_message', { to: 'nobody', text: 'hi' }],
            ['status_update', { status: 'asleep' }],
            ['typing', { isTyping: 'yes' }],
            ['kick', { userId: 'nobody' }],
        ]);
        assert.deepEqual(answers.map(({ event, payload }) => [event, payload.code]), [
            ['message', 'EMPTY_MESSAGE'],
            ['message', 'MESSAGE_TOO_LONG'],
            ['message', 'MALFORMED_MESSAGE'],
            ['message', 'MALFORMED_MESSAGE'],
            ['private_message', 'NOT_IN_ROOM'],
            ['status_update', 'MALFORMED_MESSAGE'],
            ['typing', 'MALFORMED_MESSAGE'],
            ['kick', 'FORBIDDEN'],
        ]);
        assert.deepEqual(answers[1].payload.details, { length: 1001, max: 1000 });
        assert.equal(answers[2].payload.details.field, 'text');
        assert.ok(answers.every(({ payload }) => payload.message && payload.details));
        const [long, nobody] = await ask(ada, 'mistakes', [['message', { text: '🌊'.repeat(1000) }], ['kick', { userId: 'nobody' }]]);
        assert.ok(long.payload.id, 'a thousand characters are not too long, however many bytes they have');
        assert.equal(nobody.payload.code, 'NOT_IN_ROOM');
    }],
    ['new messages wait below when somebody reads above', async () => {
        await eve.enters('long');
        await ada.enters('long');
        for (let line = 1; line <= 30; line++) await ada.says(`line ${line}`);
        await eve.reads('line 30');
        await eve.page.evaluate(() => document.getElementById('scroller').scrollTo(0, 0));
        await ada.says('news');
        await eve.page.locator('#to-newest').click();
        await eve.page.locator('#to-newest').waitFor({ state: 'hidden' });
        assert.ok(await eve.page.locator('#messages .body', { hasText: 'news' }).isVisible());
        await ada.enters('general');
        await eve.enters('general');
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await bob.page.emulateMedia({ colorScheme: 'dark' });
        assert.equal(await isLight(bob.page), false);
        await bob.page.locator('.room-header [data-theme-toggle]').click();
        assert.equal(await isLight(bob.page), true);
        await bob.page.locator('.room-header [data-theme-toggle]').click();
        assert.equal(await isLight(bob.page), false);
        await bob.page.emulateMedia({ colorScheme: 'light' });
        assert.equal(await isLight(bob.page), true);
    }],
    ['pictures', async () => {
        for (const person of [ada, bob, eve]) await person.enters('design');
        await bob.says('Morning! I moved the presence list into the sidebar.');
        await bob.says('It now keeps its place when somebody joins, so nothing jumps any more.');
        await eve.reads('nothing jumps');
        await eve.says('Looks much calmer. Can we try it on a phone, too?');
        await ada.reads('Looks much calmer');
        await ada.says('Already did: rooms and people are a drawer there.');
        await ada.says('I will show both at eleven.');
        await bob.reads('at eleven');
        await bob.whispers('Ada Lovelace', 'Could you kick the demo account afterwards?');
        await ada.reads('demo account');
        await ada.whispers('Bob', 'Sure, will do.');
        await eve.page.selectOption('#my-status', 'away');
        await ada.sees('Eve', 'away');
        await bob.page.locator('#text').pressSequentially('Thank');
        await ada.page.locator('#typing', { hasText: 'Bob is typing' }).waitFor();
        await picture(ada.page, 'chat');
        await bob.page.fill('#text', '');
        await ada.page.setViewportSize({ width: 390, height: 800 });
        await ada.page.click('#menu');
        await ada.page.locator('#sidebar.open').waitFor();
        await picture(ada.page, 'drawer');
        await ada.page.keyboard.press('Escape');
        await ada.page.locator('#sidebar:not(.open)').waitFor({ state: 'attached' });
        await ada.page.setViewportSize({ width: 1180, height: 780 });
        await bob.row('Ada Lovelace').locator('.who').click();
        await bob.page.fill('#text', 'x'.repeat(1001));
        await bob.page.press('#text', 'Enter');
        await bob.toast('not 1001');
        await picture(bob.page, 'refused');
        await bob.page.fill('#text', '');
        for (const person of [ada, bob, eve]) await person.enters('general');
    }],
    ['who is removed is told so, and can come back', async () => {
        assert.equal(await bob.page.locator('.kick').count(), 0, 'only an admin can');
        await ada.row('Bob').locator('.kick').click();
        await bob.page.locator('#kicked', { hasText: 'An admin asked you to leave.' }).waitFor();
        await picture(bob.page, 'kicked');
        await ada.misses('Bob');
        await ada.page.locator('.notice', { hasText: 'Bob was removed' }).waitFor();
        await bob.page.click('#rejoin');
        await ada.sees('Bob', 'busy');
        await bob.says('back again');
        await ada.reads('back again');
    }],
    ['after a restart of the server everybody is back by themselves, and so is what they wrote meanwhile', async () => {
        await ada.row('Eve').locator('.kick').click();
        await eve.page.locator('#kicked').waitFor();
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((person) => person.connection('reconnecting')));
        await bob.says('are you there?');
        await bob.says('hello?');
        await bob.page.locator('#waiting', { hasText: 'are you there?' }).waitFor();
        await picture(bob.page, 'reconnecting');
        server = await start(server.port);
        await Promise.all([ada, bob].map((person) => person.connection('connected')));
        await ada.sees('Bob', 'busy');
        await bob.sees('Ada Lovelace');
        await ada.reads('hello?');
        assert.deepEqual((await ada.texts()).slice(-2), ['are you there?', 'hello?']);
        await ada.says('now I am');
        await bob.reads('now I am');
        assert.equal(await bob.page.locator('#waiting li').count(), 0);
        assert.equal(await ada.row('Eve').count(), 0, 'who was removed does not come back uninvited');
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const person of [ada, bob, eve]) assert.deepEqual(person.faults, [], person.name);
    }],
    ['SIGTERM ends the server, whatever clients do not read, and those who are in it are told', async () => {
        const closed = await whenClosed(ada);
        await stallResponses(server.url);
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
        assert.equal(await closed(), 1001);
        await ada.connection('reconnecting');
    }],
];

await run(checks, async () => {
    await browser.close();
    server.child.kill('SIGKILL');
});
