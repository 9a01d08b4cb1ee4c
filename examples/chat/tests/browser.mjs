// The chat in headless Chromium: people in windows of their own.
//
//   node browser.mjs        CHAT_BIN, CHROMIUM: the programs; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { Person } from './person.mjs';
import { Server } from './server.mjs';

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const pictures = process.env.SCREENSHOTS ?? await mkdtemp(path.join(tmpdir(), 'chat-'));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: QUIET });
let server = await Server.start();
const people = {};

const checks = [
    ['a name that is empty is refused', async () => {
        const page = await browser.newPage();
        await page.goto(server.url);
        await page.fill('#name', '   ');
        await page.click('#sign-in-form button[type=submit]');
        await page.locator('#sign-in-error', { hasText: 'Please enter a name.' }).waitFor();
        await page.screenshot({ path: path.join(pictures, 'sign-in.png') });
        await page.close();
    }],
    ['two people sign in and see each other', async () => {
        people.ada = await Person.open(browser, server.url, 'Ada Lovelace', { admin: true });
        people.bob = await Person.open(browser, server.url, 'Bob');
        await people.ada.sees('Bob');
        await people.bob.sees('Ada Lovelace');
    }],
    ['messages go both ways, in order', async () => {
        const { ada, bob } = people;
        for (const text of ['one', 'two', 'three']) await ada.says(text);
        await bob.reads('three');
        await bob.says('four');
        await ada.reads('four');
        for (const person of [ada, bob]) assert.deepEqual(await person.texts(), ['one', 'two', 'three', 'four']);
    }],
    ['what people write is text, not markup', async () => {
        const { ada, bob } = people;
        await ada.says('<img src=x onerror="alert(1)"> & <b>bold</b>');
        await bob.reads('<b>bold</b>');
        assert.equal(await bob.page.locator('.message .body img').count(), 0);
    }],
    ['typing is shown, and gone when it ends', async () => {
        const { ada, bob } = people;
        await ada.page.locator('#text').pressSequentially('hm');
        const line = bob.page.locator('#typing', { hasText: 'Ada Lovelace is typing' });
        await line.waitFor();
        await ada.page.fill('#text', '');
        await line.waitFor({ state: 'detached' });
    }],
    ['a status is shown to the others', async () => {
        await people.bob.page.selectOption('#status', 'busy');
        await people.ada.sees('Bob', 'busy');
    }],
    ['an empty and a too long message are answered with the reason', async () => {
        const { bob } = people;
        await bob.says('   ');
        await bob.toast('A message needs some text.');
        await bob.says('x'.repeat(1001));
        await bob.toast('A message has at most 1000 characters.');
        assert.equal((await bob.page.inputValue('#text')).length, 1001, 'the text stays');
        await bob.page.fill('#text', '');
    }],
    ['a private message is for one alone', async () => {
        const { ada, bob } = people;
        people.eve = await Person.open(browser, server.url, 'Eve');
        await ada.page.locator('.person', { hasText: 'Bob' }).locator('.who').click();
        await ada.says('just for you');
        await bob.reads('just for you');
        await ada.reads('just for you');
        await ada.page.press('#text', 'Escape');
        await ada.says('for everybody');
        await people.eve.reads('for everybody');
        assert.ok(!(await people.eve.texts()).includes('just for you'));
    }],
    ['who comes later sees the last messages', async () => {
        assert.deepEqual((await people.eve.texts()).slice(0, 4), ['one', 'two', 'three', 'four']);
    }],
    ['rooms are apart', async () => {
        const { bob, eve } = people;
        await eve.page.click('[data-room=random]');
        await bob.misses('Eve');
        await eve.says('in another room');
        await eve.reads('in another room');
        await eve.page.click('[data-room=general]');
        await bob.sees('Eve');
        assert.ok(!(await bob.texts()).includes('in another room'));
    }],
    ['pictures in light and dark, on a desk and on a phone', async () => {
        for (const colorScheme of ['light', 'dark']) {
            const person = await Person.open(browser, server.url, 'Grace', { colorScheme });
            await person.says('Looks good in here. 🌊');
            await person.reads('Looks good');
            await person.screenshot(path.join(pictures, `desk-${colorScheme}.png`));
            await person.context.close();
            const phone = await Person.open(browser, server.url, 'Linus', { colorScheme, viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true });
            await phone.says('From the train, on a phone.');
            await phone.reads('From the train');
            await phone.screenshot(path.join(pictures, `phone-${colorScheme}.png`));
            await phone.page.click('#menu');
            await phone.page.locator('#sidebar.open').waitFor();
            await phone.screenshot(path.join(pictures, `phone-menu-${colorScheme}.png`));
            await phone.context.close();
        }
    }],
    ['only an admin can remove people', async () => {
        assert.equal(await people.bob.page.locator('.kick').count(), 0);
    }],
    ['who is removed is told so, and can come back', async () => {
        const { ada, bob } = people;
        await ada.page.locator('.person', { hasText: 'Bob' }).locator('.kick').click();
        await bob.page.locator('#kicked', { hasText: 'An admin asked you to leave.' }).waitFor();
        await bob.screenshot(path.join(pictures, 'kicked.png'));
        await ada.misses('Bob');
        await bob.page.click('#rejoin');
        await ada.sees('Bob');
        await bob.says('back again');
        await ada.reads('back again');
    }],
    ['after a restart of the server everybody is back by itself', async () => {
        const { ada, bob } = people;
        await server.kill();
        await Promise.race([ada.connection('reconnecting'), ada.connection('offline')]);
        server = await Server.start(server.port);
        await Promise.all([ada.connection('connected'), bob.connection('connected')]);
        await ada.sees('Bob');
        await bob.sees('Ada Lovelace');
        await ada.says('still there?');
        await bob.reads('still there?');
        await bob.says('still here');
        await ada.reads('still here');
    }],
    ['nothing was thrown in any window', async () => {
        for (const person of Object.values(people)) assert.deepEqual(person.faults, [], person.name);
    }],
];

let [passed, failed] = [0, 0];
for (const [name, run] of checks) {
    try {
        await run();
        passed++;
        console.log(`ok   ${name}`);
    } catch (error) {
        failed++;
        console.log(`FAIL ${name}: ${error.message}`);
    }
}
await browser.close();
await server.kill();
console.log(`pictures in ${pictures}`);
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
