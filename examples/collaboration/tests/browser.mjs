// The documents in headless Chromium, with one window for each user.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: the folder for pictures
//
// Prints one line for each check, then "N passed, M failed, K skipped".

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
    ['two users see each other and the text of the other', async () => {
        ada = await open('Ada Lovelace');
        bob = await open('Bob');
        await ada.waitForPerson('Bob');
        await bob.waitForPerson('Ada Lovelace');
        await ada.type('A pond is quiet.');
        await bob.waitForText('A pond is quiet.');
        await bob.select(0);
        await bob.type('Today: ');
        await ada.waitForText('Today: A pond is quiet.');
    }],
    ['the cursor keeps its place in the text when others write before it', async () => {
        await ada.select(23);
        await bob.select(0);
        await bob.type('# ');
        await ada.waitForText('# Today: A pond is quiet.');
        await ada.type(' Mostly.');
        await bob.waitForText('# Today: A pond is quiet. Mostly.');
    }],
    ['cursors and selections of other users are shown and move with the text', async () => {
        await ada.select(11);
        await bob.waitForCursor('Ada Lovelace', '# Today: A ');
        await ada.select(11, 15);
        await bob.waitForSelection('pond');
        await bob.select(2);
        await bob.type('Not ');
        await bob.waitForCursor('Ada Lovelace', '# Not Today: A pond');
        await bob.waitForSelection('pond');
        await ada.waitForCursor('Bob', '# Not ');
    }],
    ['undo reverts only the changes of the same user', async () => {
        await bob.select(37);
        await bob.type(' Yes.');
        await ada.waitForText('# Not Today: A pond is quiet. Mostly. Yes.');
        await ada.select(0, 6);
        await ada.page.keyboard.press('Delete');
        await bob.waitForText('Today: A pond is quiet. Mostly. Yes.');
        await bob.page.keyboard.press('Control+z');
        await ada.waitForText('Today: A pond is quiet. Mostly.');
        await bob.page.keyboard.press('Control+Shift+z');
        await ada.waitForText('Today: A pond is quiet. Mostly. Yes.');
    }],
    ['concurrent changes at the same place lead to the same text', async () => {
        await Promise.all([ada, bob].map((writer) => writer.select(36)));
        await Promise.all([ada.type(' aaaaaaaaaaaaaaaaaaaa'), bob.type(' bbbbbbbbbbbbbbbbbbbb')]);
        await Promise.all([ada, bob].map((writer) => writer.waitForSaveState('saved')));
        await bob.page.waitForFunction(() => document.getElementById('text').value.length === 78);
        const text = await bob.text();
        await ada.waitForText(text);
        for (const letters of [/a/g, /b/g]) assert.equal(text.slice(36).match(letters).length, 20);
    }],
    ['surrogate pairs are never split, and text is not markup', async () => {
        await ada.page.fill('#text', '🐸🐟<b>&amp;</b>');
        await bob.waitForText('🐸🐟<b>&amp;</b>');
        await bob.page.fill('#text', '🐸🐠<b>&amp;</b>');
        await ada.waitForText('🐸🐠<b>&amp;</b>');
        await ada.select(2);
        await bob.waitForCursor('Ada Lovelace', '🐸');
        assert.equal(await bob.page.locator('#marks b').count(), 0);
    }],
    ['a user that joins later gets the document and its cursors', async () => {
        await ada.page.fill('#text', 'one two three');
        await ada.select(4, 7);
        await bob.waitForSelection('two');
        const eve = await open('Eve');
        assert.equal(await eve.text(), 'one two three');
        await eve.waitForSelection('two');
        await eve.waitForCursor('Ada Lovelace', 'one two');
        await eve.page.context().close();
        await bob.waitForAbsence('Eve');
    }],
    ['offline changes are merged when the user is online again', async () => {
        await bob.toggleOffline();
        await bob.waitForConnection('offline');
        await ada.waitForAbsence('Bob');
        await bob.select(13);
        await bob.type(' four');
        await ada.select(0, 4);
        await ada.page.keyboard.press('Delete');
        await ada.select(3);
        await ada.type(', too');
        await ada.waitForText('two, too three');
        assert.equal(await bob.text(), 'one two three four');
        await bob.waitForSaveState('waiting');
        await picture(bob.page, 'offline');
        await bob.toggleOffline();
        await Promise.all([ada, bob].map((writer) => writer.waitForText('two, too three four')));
        await bob.waitForSaveState('saved');
        await ada.waitForPerson('Bob');
    }],
    ['a restart of the server loses nothing, and changes made meanwhile are sent afterwards', async () => {
        await ada.waitForSaveState('saved');
        await server.end('SIGKILL');
        await Promise.all([ada, bob].map((writer) => writer.waitForConnection('reconnecting')));
        await bob.select(0);
        await bob.type('zero ');
        await bob.waitForSaveState('waiting');
        server = await start(server.port);
        await Promise.all([ada, bob].map((writer) => writer.waitForText('zero two, too three four')));
        await bob.waitForSaveState('saved');
    }],
    ['the document is in the database after all users have left and the server was restarted', async () => {
        await Promise.all([ada, bob].map((writer) => writer.page.context().close()));
        await server.end('SIGKILL');
        server = await start();
        ada = await open('Ada Lovelace');
        assert.equal(await ada.text(), 'zero two, too three four');
        bob = await open('Bob');
    }],
    ['another name is another document with its own address', async () => {
        await bob.page.fill('#name', 'Meeting, Monday!');
        await bob.page.press('#name', 'Enter');
        await ada.waitForAbsence('Bob');
        await bob.waitUntilReady();
        assert.equal(await bob.text(), '');
        assert.match(bob.page.url(), /#meeting-monday$/);
        await bob.type('agenda');
        await bob.waitForSaveState('saved');
        await bob.page.goBack();
        await bob.waitForText('zero two, too three four');
        await bob.page.goForward();
        await bob.waitForText('agenda');
    }],
    ['a full document refuses the last change and can be shortened', async () => {
        const most = 256 * 1024;
        await bob.page.fill('#text', 'x'.repeat(most - 3000));
        await bob.waitForSaveState('saved');
        await bob.select(0);
        await bob.page.keyboard.insertText('y'.repeat(5000));
        await bob.waitForToast('This document is full: it has at most 256 KB.');
        await bob.waitForText('x'.repeat(most - 3000));
        await picture(bob.page, 'full');
        await bob.page.fill('#text', 'short again');
        await bob.waitForSaveState('saved');
        await bob.page.reload();
        await bob.waitUntilReady();
        assert.equal(await bob.text(), 'short again');
    }],
    ['an invalid cursor is not shown and affects no other user', async () => {
        await ask(ada, 'meeting-monday', [['cursor', { selection: { anchor: 'nowhere', head: '{}' } }], ['sync', { vector: 'AA==' }]]);
        await ada.select(0);
        await bob.type('!');
        await bob.waitForText('!short again');
    }],
    ['invalid messages are answered with a code and affect no other user', async () => {
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
        await ada.select(0);
        await ada.type('still here: ');
        await ada.waitForSaveState('saved');
    }],
    ['the theme follows the system until the user chooses one', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['pictures', async () => {
        const pages = await Promise.all(['Ada Lovelace', 'Bob', 'Eve Torres'].map((name) => open(name, 'pond-life')));
        const [first, second, third] = pages;
        await first.page.fill('#text', TEXT);
        await second.waitForText(TEXT);
        await third.waitForText(TEXT);
        const place = (text) => TEXT.indexOf(text);
        await second.select(place('before sunrise'), place('before sunrise') + 14);
        await third.select(place('count them twice') + 16);
        await first.select(place('Bring boots') + 11);
        await first.waitForSelection('before sunrise');
        await first.page.locator('#marks .caret').nth(1).waitFor({ state: 'attached' });
        await picture(first.page, 'document');
        for (const { page, faults } of pages) {
            assert.deepEqual(faults, []);
            await page.context().close();
        }
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const writer of [ada, bob]) assert.deepEqual(writer.faults, [], writer.name);
    }],
    ['SIGTERM ends the server although a client reads no responses', async () => {
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
