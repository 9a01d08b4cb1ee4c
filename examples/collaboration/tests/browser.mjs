// The documents in headless Chromium: people in windows of their own.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch } from '../../page/browser/chromium.mjs';
import { stallResponses } from '../../page/browser/stalled.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Server } from '../../page/browser/server.mjs';
import { ask } from './wire.mjs';
import { Writer } from './writer.mjs';

const database = path.join(await mkdtemp(path.join(tmpdir(), 'collaboration-')), 'documents.sqlite');
const start = (port) => Server.start('collaboration', ['--database', database], port);
let server = await start();
const browser = await launch();
const open = (name, document) => Writer.open(browser, server.url, name, document);
let ada, bob;

const checks = [
    ['two people see each other, and what the other writes', async () => {
        ada = await open('Ada Lovelace');
        bob = await open('Bob');
        await ada.sees('Bob');
        await bob.sees('Ada Lovelace');
        await ada.types('A pond is quiet.');
        await bob.reads('A pond is quiet.');
        await bob.selects(0);
        await bob.types('Today: ');
        await ada.reads('Today: A pond is quiet.');
    }],
    ['the cursor stays at its letter when others write before it', async () => {
        await ada.selects(23);
        await bob.selects(0);
        await bob.types('# ');
        await ada.reads('# Today: A pond is quiet.');
        await ada.types(' Mostly.');
        await bob.reads('# Today: A pond is quiet. Mostly.');
    }],
    ['cursors and selections of the others are shown, and move with the text', async () => {
        await ada.selects(11);
        await bob.seesCursor('Ada Lovelace', '# Today: A ');
        await ada.selects(11, 15);
        await bob.seesSelected('pond');
        await bob.selects(2);
        await bob.types('Not ');
        await bob.seesCursor('Ada Lovelace', '# Not Today: A pond');
        await bob.seesSelected('pond');
        await ada.seesCursor('Bob', '# Not ');
    }],
    ['undo takes back what one has written oneself, and nothing else', async () => {
        await bob.selects(37);
        await bob.types(' Yes.');
        await ada.reads('# Not Today: A pond is quiet. Mostly. Yes.');
        await ada.selects(0, 6);
        await ada.page.keyboard.press('Delete');
        await bob.reads('Today: A pond is quiet. Mostly. Yes.');
        await bob.page.keyboard.press('Control+z');
        await ada.reads('Today: A pond is quiet. Mostly.');
        await bob.page.keyboard.press('Control+Shift+z');
        await ada.reads('Today: A pond is quiet. Mostly. Yes.');
    }],
    ['two who write at the same place at once have the same text', async () => {
        await Promise.all([ada, bob].map((writer) => writer.selects(36)));
        await Promise.all([ada.types(' aaaaaaaaaaaaaaaaaaaa'), bob.types(' bbbbbbbbbbbbbbbbbbbb')]);
        await Promise.all([ada, bob].map((writer) => writer.saved('saved')));
        await bob.page.waitForFunction(() => document.getElementById('text').value.length === 78);
        const text = await bob.text();
        await ada.reads(text);
        for (const letters of [/a/g, /b/g]) assert.equal(text.slice(36).match(letters).length, 20);
    }],
    ['letters of several units are never torn, and what people write is text', async () => {
        await ada.page.fill('#text', '🐸🐟<b>&amp;</b>');
        await bob.reads('🐸🐟<b>&amp;</b>');
        await bob.page.fill('#text', '🐸🐠<b>&amp;</b>');
        await ada.reads('🐸🐠<b>&amp;</b>');
        await ada.selects(2);
        await bob.seesCursor('Ada Lovelace', '🐸');
        assert.equal(await bob.page.locator('#marks b').count(), 0);
    }],
    ['who comes later gets the document, and the cursors in it', async () => {
        await ada.page.fill('#text', 'one two three');
        await ada.selects(4, 7);
        await bob.seesSelected('two');
        const eve = await open('Eve');
        assert.equal(await eve.text(), 'one two three');
        await eve.seesSelected('two');
        await eve.seesCursor('Ada Lovelace', 'one two');
        await eve.page.context().close();
        await bob.misses('Eve');
    }],
    ['what two have written apart is put together when the one who was offline is back', async () => {
        await bob.togglesOffline();
        await bob.connection('offline');
        await ada.misses('Bob');
        await bob.selects(13);
        await bob.types(' four');
        await ada.selects(0, 4);
        await ada.page.keyboard.press('Delete');
        await ada.selects(3);
        await ada.types(', too');
        await ada.reads('two, too three');
        assert.equal(await bob.text(), 'one two three four');
        await bob.saved('waiting');
        await picture(bob.page, 'offline');
        await bob.togglesOffline();
        await Promise.all([ada, bob].map((writer) => writer.reads('two, too three four')));
        await bob.saved('saved');
        await ada.sees('Bob');
    }],
    ['a restart of the server loses nothing, and what is written meanwhile is sent when it is back', async () => {
        await ada.saved('saved');
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((writer) => writer.connection('reconnecting')));
        await bob.selects(0);
        await bob.types('zero ');
        await bob.saved('waiting');
        server = await start(server.port);
        await Promise.all([ada, bob].map((writer) => writer.reads('zero two, too three four')));
        await bob.saved('saved');
    }],
    ['the document is in the database when everybody has gone and the server was restarted', async () => {
        await Promise.all([ada, bob].map((writer) => writer.page.context().close()));
        await server.end('SIGKILL');
        server = await start();
        ada = await open('Ada Lovelace');
        assert.equal(await ada.text(), 'zero two, too three four');
        bob = await open('Bob');
    }],
    ['another name is another document, which is linked by its address', async () => {
        await bob.page.fill('#name', 'Meeting, Monday!');
        await bob.page.press('#name', 'Enter');
        await ada.misses('Bob');
        await bob.isReady();
        assert.equal(await bob.text(), '');
        assert.match(bob.page.url(), /#meeting-monday$/);
        await bob.types('agenda');
        await bob.saved('saved');
        await bob.page.goBack();
        await bob.reads('zero two, too three four');
        await bob.page.goForward();
        await bob.reads('agenda');
    }],
    ['a full document says so, takes the last change back, and can be shortened', async () => {
        const most = 256 * 1024;
        await bob.page.fill('#text', 'x'.repeat(most - 3000));
        await bob.saved('saved');
        await bob.selects(0);
        await bob.page.keyboard.insertText('y'.repeat(5000));
        await bob.toast('This document is full: it has at most 256 KB.');
        await bob.reads('x'.repeat(most - 3000));
        await picture(bob.page, 'full');
        await bob.page.fill('#text', 'short again');
        await bob.saved('saved');
        await bob.page.reload();
        await bob.isReady();
        assert.equal(await bob.text(), 'short again');
    }],
    ['a cursor that is no position is not shown, and harms nobody', async () => {
        await ask(ada, 'meeting-monday', [['cursor', { selection: { anchor: 'nowhere', head: '{}' } }], ['sync', { vector: 'AA==' }]]);
        await ada.selects(0);
        await bob.types('!');
        await bob.reads('!short again');
    }],
    ['mistakes are answered with a code, and harm nobody', async () => {
        const answers = await ask(ada, 'notes', [
            ['change', { change: '%' }],
            ['change', { change: '////////' }],
            ['change', {}],
            ['sync', { vector: '////' }],
            ['cursor', { selection: { anchor: 'x'.repeat(201), head: '' } }],
            ['sync', { vector: 'AA==' }],
        ]);
        assert.deepEqual(answers.slice(0, -1).map(({ payload }) => payload.code), [400, 400, 400, 400, 400]);
        assert.ok(answers.at(-1).payload.change);
        const [declined] = await ask(ada, 'No Such Name', []);
        assert.deepEqual([declined.event, declined.payload.code], ['UNAUTHORIZED', 404]);
        await ada.selects(0);
        await ada.types('still here: ');
        await ada.saved('saved');
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['pictures', async () => {
        const pages = await Promise.all(['Ada Lovelace', 'Bob', 'Eve Torres'].map((name) => open(name, 'pond-life')));
        const [first, second, third] = pages;
        await first.page.fill('#text', TEXT);
        await second.reads(TEXT);
        await third.reads(TEXT);
        const place = (text) => TEXT.indexOf(text);
        await second.selects(place('before sunrise'), place('before sunrise') + 14);
        await third.selects(place('count them twice') + 16);
        await first.selects(place('Bring boots') + 11);
        await first.seesSelected('before sunrise');
        await first.page.locator('#marks .caret').nth(1).waitFor({ state: 'attached' });
        await picture(first.page, 'document');
        for (const { page, faults } of pages) {
            assert.deepEqual(faults, []);
            await page.context().close();
        }
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const writer of [ada, bob]) assert.deepEqual(writer.faults, [], writer.name);
    }],
    ['SIGTERM ends the server, whatever clients do not read', async () => {
        await stallResponses(server.url);
        assert.deepEqual(await server.end('SIGTERM'), [0, null]);
    }],
];

const TEXT = `Pond life, a field guide

The frogs are easiest to hear before sunrise, when the wind is still. Walk slowly along the eastern bank, stop every twenty steps, and write down what you hear before you write down what you see.

Dragonflies come out when the sun has reached the reeds. Look at the wings at rest: if they are spread it is a dragonfly, if they are folded it is a damselfly. We should count them twice, once in the morning and once after noon.

What to take along

  – Bring boots, the path is wet until May.
  – A notebook that may get wet, and two pencils.
  – Something warm to drink.
`;

await run(checks, async () => {
    await browser.close();
    server.child.kill('SIGKILL');
    await rm(path.dirname(database), { recursive: true });
});
