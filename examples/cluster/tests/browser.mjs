// The cluster in headless Chromium: people in windows of their own, on nodes that die.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { isLight, launch } from '../../page/browser/chromium.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Launcher } from './launcher.mjs';
import { Person } from './person.mjs';
import { isAlive, offspring, until } from './processes.mjs';

/** How long those who were on a dead node may be seen, in milliseconds: 5.5 s, and what a busy machine takes. */
const GHOSTS = 7_000;

const launcher = await Launcher.start();
const browser = await launch();
const open = (name) => Person.open(browser, launcher.url, name);

/** Opens a window that is served by this node: every other one is. */
async function openOn (node, name) {
    const person = await open(name);
    if (await person.node() === node) return person;
    await person.context.close();
    return open(name);
}

/** Ada is on the node that is killed, Bob on the one that stays. */
let ada, bob, eve, dies, stays, killed, told;

const checks = [
    ['two windows are served by two nodes, and see each other', async () => {
        ada = await open('Ada Lovelace');
        bob = await open('Bob');
        [dies, stays] = [await ada.node(), await bob.node()];
        assert.deepEqual([dies, stays].sort(), ['one', 'two']);
        await ada.sees('Bob', stays);
        await bob.sees('Ada Lovelace', dies);
        await ada.movesTo(dies);
        await bob.movesTo(stays);
        for (const person of [ada, bob]) {
            await person.shows('one', 'up');
            await person.shows('two', 'up');
        }
    }],
    ['messages cross between the nodes, in order, and say where they come from', async () => {
        for (const text of ['one', 'two', 'three']) await ada.says(text);
        await bob.reads('three');
        await bob.says('four');
        await ada.reads('four');
        for (const person of [ada, bob]) {
            assert.deepEqual(await person.texts(), ['one', 'two', 'three', 'four']);
            assert.deepEqual(await person.page.locator('#messages .first .chip').allTextContents(), [dies, stays]);
        }
        assert.equal(await ada.page.locator('#unheard li').count(), 0);
    }],
    ['what people write is text, not markup', async () => {
        await ada.says('<img src=x onerror="alert(1)"> & <b>bold</b>');
        await bob.reads('<b>bold</b>');
        assert.equal(await bob.page.locator('#messages img, #messages b').count(), 0);
    }],
    ['who closes the window leaves, for the other node too', async () => {
        const dan = await open('Dan');
        await Promise.all([dan.node(), ada.row('Dan').waitFor(), bob.row('Dan').waitFor()]);
        await dan.context.close();
        await Promise.all([ada, bob].map((person) => person.misses('Dan')));
        eve = await openOn(dies, 'Eve');
        await Promise.all([ada, bob].map((person) => person.sees('Eve', dies)));
        await picture(ada.page, 'cluster');
    }],
    ['the node of Ada and Eve is killed: it is dead, and Ada is on the other one at once', async () => {
        const { pid } = (await launcher.nodes()).find(({ name }) => name === dies);
        // Without a network no other node lets her in; what there is goes on until its end.
        await eve.context.setOffline(true);
        told = (await bob.notices('Ada Lovelace')).length;
        const places = await bob.places();
        await bob.kills(dies);
        await bob.shows(dies, 'down');
        assert.deepEqual(await bob.places(), places, 'nothing on the page has jumped');
        killed = Date.now();
        assert.equal(isAlive(pid), false);
        await ada.movesTo(stays);
        console.log(`     Ada is back after ${Date.now() - killed} ms`);
        await bob.sees('Ada Lovelace', stays);
        await ada.sees('Bob', stays);
        await ada.shows(dies, 'down');
    }],
    ['messages go on', async () => {
        await ada.says('still here');
        await bob.reads('still here');
        await bob.says('so am I');
        await ada.reads('so am I');
        assert.deepEqual((await ada.texts()).slice(-2), ['still here', 'so am I']);
    }],
    ['Eve, who cannot come back, leaves within 5.5 s', async () => {
        await Promise.all([ada, bob].map((person) => person.misses('Eve')));
        const gone = Date.now() - killed;
        console.log(`     Eve has left after ${gone} ms`);
        assert.ok(gone <= GHOSTS, `${gone} ms`);
        assert.equal((await bob.notices('Eve')).at(-1), 'Eve has left');
    }],
    ['now that the dead node is forgotten there is no ghost, and whoever stayed has seen Ada move once', async () => {
        for (const person of [ada, bob]) assert.deepEqual(await person.people(), [`Ada Lovelace: ${stays}`, `Bob: ${stays}`]);
        assert.deepEqual((await bob.notices('Ada Lovelace')).slice(told), [`Ada Lovelace is on ${stays} now`]);
        await picture(ada.page, 'killed');
    }],
    ['what Eve has said meanwhile is sent when she is back', async () => {
        await eve.says('can anybody hear me?');
        await eve.page.locator('#unheard', { hasText: 'can anybody hear me?' }).waitFor();
        await picture(eve.page, 'offline');
        await eve.context.setOffline(false);
        await eve.movesTo(stays);
        await bob.sees('Eve', stays);
        await bob.reads('can anybody hear me?');
        assert.equal((await bob.texts()).filter((text) => text === 'can anybody hear me?').length, 1);
        assert.equal(await eve.page.locator('#unheard li').count(), 0);
    }],
    ['the dead node is started again, and serves who comes now', async () => {
        await ada.starts(dies);
        await Promise.all([ada, bob].map((person) => person.shows(dies, 'up')));
        const dan = await openOn(dies, 'Dan');
        await dan.movesTo(dies);
        await Promise.all([ada, bob, eve].map((person) => person.sees('Dan', dies)));
        for (const name of ['Ada Lovelace', 'Bob', 'Eve']) await dan.sees(name, stays);
        await dan.says('hello from the new one');
        await bob.reads('hello from the new one');
        await bob.says('welcome');
        await dan.reads('welcome');
        await dan.context.close();
        await bob.misses('Dan');
    }],
    ['without any node people wait, and go on with the first that is there', async () => {
        for (const node of [dies, stays]) {
            await bob.kills(node);
            await bob.shows(node, 'down');
        }
        for (const person of [ada, bob, eve]) await person.page.locator('#connection[data-state=looking]').waitFor();
        await ada.says('where are you all?');
        await bob.starts(dies);
        for (const person of [ada, bob, eve]) await person.movesTo(dies);
        const everybody = [`Ada Lovelace: ${dies}`, `Bob: ${dies}`, `Eve: ${dies}`];
        for (const person of [ada, bob, eve]) {
            await until('everybody is there', async () => String(await person.people()) === String(everybody));
        }
        // It was sent as soon as she was back: whoever came later than she has not heard it.
        await ada.reads('where are you all?');
        await ada.says('here again');
        for (const person of [ada, bob, eve]) await person.reads('here again');
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await bob.page.emulateMedia({ colorScheme: 'dark' });
        assert.equal(await isLight(bob.page), false);
        await bob.page.locator('[data-theme-toggle]').click();
        assert.equal(await isLight(bob.page), true);
        await bob.page.locator('[data-theme-toggle]').click();
        assert.equal(await isLight(bob.page), false);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['nothing was thrown in any window, and nothing asked for what the page may not have', async () => {
        for (const person of [ada, bob, eve]) assert.deepEqual(person.faults, [], person.name);
    }],
    ['Ctrl-C ends everything', async () => {
        const children = await offspring(launcher.child.pid);
        assert.equal(children.length, 3, 'a node, Redis and its keeper');
        assert.deepEqual(await launcher.end('SIGINT'), [0, null]);
        assert.deepEqual(children.filter(isAlive), []);
    }],
    ['a launcher that is killed leaves nothing behind', async () => {
        // Nodes and Redis end at the same moment then, about which the nodes complain.
        const second = await Launcher.start({ stderr: 'ignore' });
        const children = await offspring(second.child.pid);
        assert.equal(children.length, 4, 'two nodes, Redis and its keeper');
        await second.end('SIGKILL');
        await until('they have ended', () => !children.some(isAlive));
    }],
];

await run(checks, async () => {
    await browser.close();
    launcher.child.kill('SIGKILL');
});
