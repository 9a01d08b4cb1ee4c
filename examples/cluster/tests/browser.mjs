// The cluster in headless Chromium: people in windows of their own, on nodes that die.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: where pictures go
//
// One line a check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch } from '../../page/browser/chromium.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Deployment, Node } from './deployment.mjs';
import { Launcher } from './launcher.mjs';
import { Person } from './person.mjs';
import { isAlive, offspring, until } from './processes.mjs';
import { join } from './wire.mjs';

/** How long those who were on a dead node may be seen, in milliseconds: 5.5 s, and what a busy machine takes. */
const GHOSTS = 7_000;

const launcher = await Launcher.start();
const browser = await launch();
const open = (name) => Person.open(browser, launcher.url, name);

/** Opens a window that is served by this node: the launcher sends pages to each node in turn. */
async function openOn (node, name) {
    const person = await open(name);
    while (await person.node() !== node) {
        await person.page.reload();
        await person.sees(name, await person.node());
    }
    return person;
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
    ['typing is shown on the other node, and gone when it ends', async () => {
        await ada.page.locator('#text').pressSequentially('hm');
        await bob.seesTyping('Ada Lovelace');
        await ada.page.fill('#text', '');
        await bob.page.locator('#typing:not(.active)').waitFor({ state: 'attached' });
    }],
    ['whoever comes later sees the recent messages of both nodes', async () => {
        const dan = await open('Dan');
        await dan.reads('<b>bold</b>');
        assert.deepEqual((await dan.texts()).slice(0, 4), ['one', 'two', 'three', 'four']);
        await dan.context.close();
    }],
    ['a name belongs to whoever had it first, on every node', async () => {
        for (const node of ['one', 'two']) {
            const { url } = (await launcher.nodes()).find(({ name }) => name === node);
            assert.deepEqual(await join(bob, `${url}?name=ada%20lovelace&token=${'x'.repeat(16)}`), ['UNAUTHORIZED', 409]);
        }
        const other = await Person.arrive(browser, launcher.url, 'ADA Lovelace');
        await other.page.locator('#start-problem', { hasText: 'This name is in use.' }).waitFor();
        await picture(other.page, 'name');
        await other.page.fill('#name', 'Ada the second');
        await other.page.press('#name', 'Enter');
        await bob.row('Ada the second').waitFor();
        await other.context.close();
        await bob.misses('Ada the second');
        assert.equal(await bob.page.locator('.person').count(), 2);
    }],
    ['nobody comes in without a name and a token', async () => {
        const [{ url }] = await launcher.nodes();
        for (const query of ['', '?name=Fay', `?name=&token=${'x'.repeat(16)}`, '?name=Fay&token=short', `?name=${'x'.repeat(25)}&token=${'x'.repeat(16)}`]) {
            assert.equal(await handshake(url.replace('ws:', 'http:') + query), 401, query);
        }
    }],
    ['who closes the window leaves, for the other node too', async () => {
        const fay = await open('Fay');
        await Promise.all([fay.node(), ada.row('Fay').waitFor(), bob.row('Fay').waitFor()]);
        await fay.context.close();
        await Promise.all([ada, bob].map((person) => person.misses('Fay')));
        eve = await openOn(dies, 'Eve');
        await Promise.all([ada, bob].map((person) => person.sees('Eve', dies)));
        for (const [person, text] of [
            [bob, 'The new build is on one of the nodes. Does anybody notice anything?'],
            [eve, 'Nothing here. Which node am I on?'],
            [bob, 'It stands beside your name: the same as Ada.'],
            [ada, 'Then kill it, and we shall see who notices.'],
            [ada, 'My name should come along to the other one.'],
        ]) {
            await person.says(text);
            await Promise.all([ada, bob, eve].map((each) => each.reads(text)));
        }
        await bob.page.locator('#text').pressSequentially('Three');
        await ada.seesTyping('Bob');
        await picture(ada.page, 'cluster');
        await bob.page.fill('#text', '');
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
    ['what Eve has said meanwhile is sent when she is back, and she sees what others have said', async () => {
        await eve.says('can anybody hear me?');
        await eve.page.locator('#unheard', { hasText: 'can anybody hear me?' }).waitFor();
        await picture(eve.page, 'offline');
        await eve.context.setOffline(false);
        await eve.movesTo(stays);
        await bob.sees('Eve', stays);
        await bob.reads('can anybody hear me?');
        assert.equal((await bob.texts()).filter((text) => text === 'can anybody hear me?').length, 1);
        assert.equal(await eve.page.locator('#unheard li').count(), 0);
        for (const text of ['still here', 'so am I']) await eve.reads(text);
    }],
    ['the dead node is started again, and serves who comes now', async () => {
        await ada.starts(dies);
        await Promise.all([ada, bob].map((person) => person.shows(dies, 'up')));
        const gil = await openOn(dies, 'Gil');
        await gil.movesTo(dies);
        await Promise.all([ada, bob, eve].map((person) => person.sees('Gil', dies)));
        for (const name of ['Ada Lovelace', 'Bob', 'Eve']) await gil.sees(name, stays);
        await gil.says('hello from the new one');
        await bob.reads('hello from the new one');
        await bob.says('welcome');
        await gil.reads('welcome');
        await gil.context.close();
        await bob.misses('Gil');
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
        for (const person of [ada, bob, eve]) await person.reads('where are you all?');
        await ada.says('here again');
        for (const person of [ada, bob, eve]) await person.reads('here again');
    }],
    ['behind a load balancer, a page continues with another node when its own is killed', async () => {
        const deployment = await Deployment.start(launcher.redis);
        try {
            const hal = await Person.open(browser, deployment.url, 'Hal');
            assert.equal(await hal.page.locator('#nodes-section').isVisible(), false, 'there is no launcher');
            const node = await hal.node();
            await ada.sees('Hal', node);
            await hal.page.waitForFunction(() => {
                const { scrollTop, scrollHeight, clientHeight } = document.getElementById('scroller');
                return scrollTop > 0 && scrollHeight - scrollTop - clientHeight < 2;
            });
            await picture(hal.page, 'deployed');
            deployment.nodes.get(node).child.kill('SIGKILL');
            const other = node === 'north' ? 'south' : 'north';
            await ada.sees('Hal', other);
            await hal.says('moved');
            await ada.reads('moved');
            assert.deepEqual(hal.faults, []);
            await hal.context.close();
            await ada.misses('Hal');
        } finally {
            deployment.kill();
        }
    }],
    ['a node that is told to stop is not ready first, and then ends', async () => {
        const node = await Node.start('third', launcher.redis, { DRAIN_DELAY: '1' });
        assert.deepEqual([await node.status('/health'), await node.status('/ready')], [200, 200]);
        node.child.kill('SIGTERM');
        await until('it is not ready', async () => await node.status('/ready') === 503);
        assert.equal(await node.status('/health'), 200);
        assert.deepEqual(await node.ended, [0, null]);
    }],
    ['light and dark follow the system until somebody chooses', async () => {
        await checkTheme(bob.page);
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
