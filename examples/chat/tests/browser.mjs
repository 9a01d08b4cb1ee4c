// The chat in headless Chromium, with one window for each user.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: the folder for pictures
//
// Prints one line for each check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { isLight, launch } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Proxy } from '../../page/browser/proxy.mjs';
import { Server } from '../../page/browser/server.mjs';
import { ADMIN_CODE, Person } from './person.mjs';
import { ask, signIn, whenClosed } from './wire.mjs';

const start = (port) => Server.start('chat', ['--admin-code', ADMIN_CODE], port);
let server = await start();
const browser = await launch();
const open = (name, options) => Person.open(browser, server.url, name, options);
let ada, bob, eve;

const checks = [
    ['sign-in needs a name of at most 24 characters, and for an admin the code', async () => {
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
    ['a socket without a valid token is refused before the upgrade', async () => {
        assert.equal(await handshake(`${server.url}/api/socket`), 401);
        assert.equal(await handshake(`${server.url}/api/socket?token=guess`), 401);
    }],
    ['two users sign in and see each other', async () => {
        ada = await open('Ada Lovelace', { admin: true });
        bob = await open('Bob');
        await ada.waitForPerson('Bob');
        await bob.waitForPerson('Ada Lovelace');
        await ada.waitForConnection('connected');
    }],
    ['messages arrive in order in both directions', async () => {
        for (const text of ['one', 'two', 'three']) await ada.sendMessage(text);
        await bob.waitForMessage('three');
        await bob.sendMessage('four');
        await ada.waitForMessage('four');
        for (const person of [ada, bob]) assert.deepEqual(await person.texts(), ['one', 'two', 'three', 'four']);
    }],
    ['messages are shown as text, not as markup', async () => {
        await ada.sendMessage('<img src=x onerror="alert(1)"> & <b>bold</b>');
        await bob.waitForMessage('<b>bold</b>');
        assert.equal(await bob.page.locator('#messages img, #messages b').count(), 0);
    }],
    ['the typing indicator is shown and hidden again', async () => {
        await ada.page.locator('#text').pressSequentially('hm');
        const line = bob.page.locator('#typing', { hasText: 'Ada Lovelace is typing' });
        await line.waitFor();
        await ada.page.fill('#text', '');
        await line.waitFor({ state: 'detached' });
        await ada.page.locator('#text').pressSequentially('well');
        await line.waitFor();
        await ada.page.press('#text', 'Enter');
        await line.waitFor({ state: 'detached' });
        await bob.waitForMessage('well');
    }],
    ['a status is shown to other users and kept in the next room', async () => {
        for (const status of ['away', 'offline', 'busy']) {
            await bob.page.selectOption('#my-status', status);
            await ada.waitForPerson('Bob', status);
        }
        await bob.page.click('[data-room=random]');
        await ada.waitForAbsence('Bob');
        await bob.waitForPerson('Bob', 'busy');
        await bob.page.click('[data-room=general]');
        await ada.waitForPerson('Bob', 'busy');
    }],
    ['an empty message and one that is too long are answered with the reason', async () => {
        await bob.sendMessage('   ');
        await bob.waitForToast('A message needs some text.');
        await bob.sendMessage('x'.repeat(1001));
        await bob.waitForToast('A message has at most 1000 characters, not 1001.');
        assert.equal((await bob.page.inputValue('#text')).length, 1001, 'the text stays');
        await bob.page.fill('#text', '');
    }],
    ['a private message reaches only its recipient', async () => {
        eve = await open('Eve');
        await ada.sendPrivately('Bob', 'just for you');
        await bob.waitForMessage('just for you');
        await ada.waitForMessage('just for you');
        for (const person of [ada, bob]) assert.equal(await person.page.locator('.message.private').count(), 1);
        await ada.sendMessage('for all');
        await eve.waitForMessage('for all');
        assert.ok(!(await eve.texts()).includes('just for you'));
    }],
    ['a user that joins later sees the last messages', async () => {
        assert.deepEqual((await eve.texts()).slice(0, 4), ['one', 'two', 'three', 'four']);
    }],
    ['in a blip nothing is lost, and nothing is shown twice', async () => {
        const proxy = await Proxy.start(server.url);
        const dan = await Person.open(browser, proxy.url, 'Dan', { room: 'blip' });
        await ada.enterRoom('blip');
        await ada.sendMessage('before');
        await dan.waitForMessage('before');
        await dan.sendMessage('me too');
        await ada.waitForMessage('me too');
        const [expected, notices] = [['before', 'me too'], await dan.page.locator('.notice').count()];
        for (const blip of ['first', 'second']) {
            proxy.refuses = true;
            proxy.cut();
            await dan.waitForConnection('reconnecting');
            for (const text of ['one', 'two', 'three']) await ada.sendMessage(`${blip} ${text}`);
            await ada.waitForMessage(`${blip} three`);
            await ada.page.locator('#text').pressSequentially('hm');
            proxy.refuses = false;
            await dan.waitForConnection('connected');
            await dan.waitForMessage(`${blip} three`);
            await ada.sendMessage(`${blip} after`);
            await dan.waitForMessage(`${blip} after`);
            expected.push(...['one', 'two', 'three', 'after'].map((text) => `${blip} ${text}`));
            assert.deepEqual(await dan.texts(), expected);
        }
        assert.equal(await dan.page.locator('.notice').count(), notices, 'no gap');
        assert.deepEqual(await ada.texts(), expected);
        assert.deepEqual(dan.faults, []);
        await dan.context.close();
        proxy.stop();
        await ada.enterRoom('general');
    }],
    ['rooms are isolated, and a reload keeps the room and the user', async () => {
        await eve.page.fill('#new-room-name', 'Deep End!');
        await eve.page.press('#new-room-name', 'Enter');
        await bob.waitForAbsence('Eve');
        await eve.sendMessage('in another room');
        await eve.waitForMessage('in another room');
        await eve.page.reload();
        await eve.waitForMessage('in another room');
        assert.equal(await eve.page.textContent('#room-name'), 'Deep end');
        await eve.page.click('[data-room=general]');
        await bob.waitForPerson('Eve');
        assert.ok(!(await bob.texts()).includes('in another room'));
    }],
    ['invalid messages are answered under the name of their event, with a code', async () => {
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
    ['the list does not scroll to new messages while the user reads older ones', async () => {
        await eve.enterRoom('long');
        await ada.enterRoom('long');
        for (let line = 1; line <= 30; line++) await ada.sendMessage(`line ${line}`);
        await eve.waitForMessage('line 30');
        await eve.page.evaluate(() => document.getElementById('scroller').scrollTo(0, 0));
        await ada.sendMessage('news');
        await eve.page.locator('#to-newest').click();
        await eve.page.locator('#to-newest').waitFor({ state: 'hidden' });
        assert.ok(await eve.page.locator('#messages .body', { hasText: 'news' }).isVisible());
        await ada.enterRoom('general');
        await eve.enterRoom('general');
    }],
    ['the theme follows the system until the user chooses one', async () => {
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
        for (const person of [ada, bob, eve]) await person.enterRoom('design');
        await bob.sendMessage('Morning! I moved the presence list into the sidebar.');
        await bob.sendMessage('It now keeps its place when somebody joins, so nothing jumps any more.');
        await eve.waitForMessage('nothing jumps');
        await eve.sendMessage('Looks much calmer. Can we try it on a phone, too?');
        await ada.waitForMessage('Looks much calmer');
        await ada.sendMessage('Already did: rooms and people are a drawer there.');
        await ada.sendMessage('I will show both at eleven.');
        await bob.waitForMessage('at eleven');
        await bob.sendPrivately('Ada Lovelace', 'Could you kick the demo account afterwards?');
        await ada.waitForMessage('demo account');
        await ada.sendPrivately('Bob', 'Sure, will do.');
        await eve.page.selectOption('#my-status', 'away');
        await ada.waitForPerson('Eve', 'away');
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
        await bob.waitForToast('not 1001');
        await picture(bob.page, 'refused');
        await bob.page.fill('#text', '');
        for (const person of [ada, bob, eve]) await person.enterRoom('general');
    }],
    ['a removed user is notified and can rejoin', async () => {
        assert.equal(await bob.page.locator('.kick').count(), 0, 'only an admin can');
        await ada.row('Bob').locator('.kick').click();
        await bob.page.locator('#kicked', { hasText: 'An admin asked you to leave.' }).waitFor();
        await picture(bob.page, 'kicked');
        await ada.waitForAbsence('Bob');
        await ada.page.locator('.notice', { hasText: 'Bob was removed' }).waitFor();
        await bob.page.click('#rejoin');
        await ada.waitForPerson('Bob', 'busy');
        await bob.sendMessage('back again');
        await ada.waitForMessage('back again');
    }],
    ['after a restart of the server clients reconnect and send their unsent messages', async () => {
        await ada.row('Eve').locator('.kick').click();
        await eve.page.locator('#kicked').waitFor();
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((person) => person.waitForConnection('reconnecting')));
        await bob.sendMessage('are you there?');
        await bob.sendMessage('hello?');
        await bob.page.locator('#waiting', { hasText: 'are you there?' }).waitFor();
        await picture(bob.page, 'reconnecting');
        server = await start(server.port);
        await Promise.all([ada, bob].map((person) => person.waitForConnection('connected')));
        await ada.waitForPerson('Bob', 'busy');
        await bob.waitForPerson('Ada Lovelace');
        await ada.waitForMessage('hello?');
        assert.deepEqual((await ada.texts()).slice(-2), ['are you there?', 'hello?']);
        // The messages of a server that was killed are gone with it.
        for (const person of [ada, bob]) assert.equal(await person.page.locator('.notice', { hasText: 'Some messages are missing' }).count(), 1);
        await ada.sendMessage('now I am');
        await bob.waitForMessage('now I am');
        assert.equal(await bob.page.locator('#waiting li').count(), 0);
        assert.equal(await ada.row('Eve').count(), 0, 'a removed user does not rejoin by itself');
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const person of [ada, bob, eve]) assert.deepEqual(person.faults, [], person.name);
    }],
    ['SIGTERM closes the connections and ends the server although a client reads no responses', async () => {
        const closed = await whenClosed(ada);
        await stallResponses(server.url);
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
        assert.equal(await closed(), 1001);
        await ada.waitForConnection('reconnecting');
    }],
];

await run(checks, async () => {
    await browser.close();
    server.child.kill('SIGKILL');
});
