// The cluster in headless Chromium, with one window for each user, while nodes are killed.
//
//   node browser.mjs [PROGRAM]      CHROMIUM: another browser; SCREENSHOTS: the folder for pictures
//
// Prints one line for each check, then "N passed, M failed, K skipped".

import assert from 'node:assert/strict';
import { run } from '../../page/browser/checks.mjs';
import { checkTheme, launch } from '../../page/browser/chromium.mjs';
import { handshake } from '../../page/browser/handshake.mjs';
import { picture } from '../../page/browser/pictures.mjs';
import { Deployment, Node } from './deployment.mjs';
import { Launcher } from './launcher.mjs';
import { Person } from './person.mjs';
import { isAlive, descendants, until } from './processes.mjs';
import { join } from './wire.mjs';

/** The most milliseconds for which users of a dead node may be shown: 5.5 s, and a reserve for a busy machine. */
const MAX_SHOWN = 7_000;

const launcher = await Launcher.start();
const browser = await launch();
const open = (name) => Person.open(browser, launcher.url, name);

/** Opens a window that is served by this node. The launcher gives pages to the nodes in turn. */
async function openOn (node, name) {
    const person = await open(name);
    while (await person.node() !== node) {
        await person.page.reload();
        await person.waitForPerson(name, await person.node());
    }
    return person;
}

/** Begins to wait until Bob's page does not show a user. The function that it returns gives the milliseconds that it took. */
function absenceOf (name) {
    const since = Date.now();
    const gone = bob.waitForAbsence(name).then(() => Date.now() - since);
    // The check that asks for the result reports an error.
    gone.catch(() => {});
    return () => gone;
}

/** Ada is on the node that is killed (`victim`), Bob on the other one (`survivor`). */
let ada, bob, eve, victim, survivor, absence, noticed;

const checks = [
    ['two windows are served by two nodes, and their users see each other', async () => {
        ada = await open('Ada Lovelace');
        bob = await open('Bob');
        [victim, survivor] = [await ada.node(), await bob.node()];
        assert.deepEqual([victim, survivor].sort(), ['one', 'two']);
        await ada.waitForPerson('Bob', survivor);
        await bob.waitForPerson('Ada Lovelace', victim);
        await ada.waitForNode(victim);
        await bob.waitForNode(survivor);
        for (const person of [ada, bob]) {
            await person.waitForState('one', 'up');
            await person.waitForState('two', 'up');
        }
    }],
    ['messages reach the other node in order, and show their origin', async () => {
        for (const text of ['one', 'two', 'three']) await ada.sendMessage(text);
        await bob.waitForMessage('three');
        await bob.sendMessage('four');
        await ada.waitForMessage('four');
        for (const person of [ada, bob]) {
            assert.deepEqual(await person.texts(), ['one', 'two', 'three', 'four']);
            assert.deepEqual(await person.page.locator('#messages .first .chip').allTextContents(), [victim, survivor]);
        }
        assert.equal(await ada.page.locator('#unconfirmed li').count(), 0);
    }],
    ['messages are shown as text, not as markup', async () => {
        await ada.sendMessage('<img src=x onerror="alert(1)"> & <b>bold</b>');
        await bob.waitForMessage('<b>bold</b>');
        assert.equal(await bob.page.locator('#messages img, #messages b').count(), 0);
    }],
    ['the typing indicator is shown on the other node and hidden again', async () => {
        await ada.page.locator('#text').pressSequentially('hm');
        await bob.waitForTyping('Ada Lovelace');
        await ada.page.fill('#text', '');
        await bob.page.locator('#typing:not(.active)').waitFor({ state: 'attached' });
    }],
    ['a user that joins later sees the recent messages of both nodes', async () => {
        const dan = await open('Dan');
        await dan.waitForMessage('<b>bold</b>');
        assert.deepEqual((await dan.texts()).slice(0, 4), ['one', 'two', 'three', 'four']);
        await dan.context.close();
    }],
    ['a name in use is refused on every node', async () => {
        for (const node of ['one', 'two']) {
            const { url } = (await launcher.nodes()).find(({ name }) => name === node);
            assert.deepEqual(await join(bob, `${url}?name=ada%20lovelace&token=${'x'.repeat(16)}`), ['UNAUTHORIZED', 409]);
        }
        const other = await Person.visit(browser, launcher.url, 'ADA Lovelace');
        await other.page.locator('#start-problem', { hasText: 'This name is in use.' }).waitFor();
        await picture(other.page, 'name');
        await other.page.fill('#name', 'Ada the second');
        await other.page.press('#name', 'Enter');
        await bob.row('Ada the second').waitFor();
        await other.context.close();
        await bob.waitForAbsence('Ada the second');
        assert.equal(await bob.page.locator('.person').count(), 2);
    }],
    ['a connection without a valid name and token is refused with 401', async () => {
        const [{ url }] = await launcher.nodes();
        for (const query of ['', '?name=Fay', `?name=&token=${'x'.repeat(16)}`, '?name=Fay&token=short', `?name=${'x'.repeat(25)}&token=${'x'.repeat(16)}`]) {
            assert.equal(await handshake(url.replace('ws:', 'http:') + query), 401, query);
        }
    }],
    ['a user that closes its window leaves on both nodes', async () => {
        const fay = await open('Fay');
        await Promise.all([fay.node(), ada.row('Fay').waitFor(), bob.row('Fay').waitFor()]);
        await fay.context.close();
        await Promise.all([ada, bob].map((person) => person.waitForAbsence('Fay')));
        eve = await openOn(victim, 'Eve');
        await Promise.all([ada, bob].map((person) => person.waitForPerson('Eve', victim)));
        for (const [person, text] of [
            [bob, 'The new build is on one of the nodes. Do you see any difference?'],
            [eve, 'Nothing here. Which node am I on?'],
            [bob, 'It stands beside your name: the same as Ada.'],
            [ada, 'Then kill it, and we shall see who notices.'],
            [ada, 'My name should come along to the other one.'],
        ]) {
            await person.sendMessage(text);
            await Promise.all([ada, bob, eve].map((each) => each.waitForMessage(text)));
        }
        await bob.page.locator('#text').pressSequentially('Three');
        await ada.waitForTyping('Bob');
        await picture(ada.page, 'cluster');
        await bob.page.fill('#text', '');
    }],
    ['when the node of Ada and Eve is killed, Ada reconnects to the other one at once', async () => {
        const { pid } = (await launcher.nodes()).find(({ name }) => name === victim);
        // Offline, Eve cannot reconnect to another node. Her present connection is not affected by it.
        await eve.context.setOffline(true);
        noticed = (await bob.notices('Ada Lovelace')).length;
        const places = await bob.places();
        await bob.killNode(victim);
        await bob.waitForState(victim, 'down');
        assert.deepEqual(await bob.places(), places, 'no part of the page has moved');
        absence = absenceOf('Eve');
        assert.equal(isAlive(pid), false);
        const killed = Date.now();
        await ada.waitForNode(survivor);
        console.log(`     Ada is back after ${Date.now() - killed} ms`);
        await bob.waitForPerson('Ada Lovelace', survivor);
        await ada.waitForPerson('Bob', survivor);
        await ada.waitForState(victim, 'down');
    }],
    ['messages are delivered on the remaining node', async () => {
        await ada.sendMessage('still here');
        await bob.waitForMessage('still here');
        await bob.sendMessage('so am I');
        await ada.waitForMessage('so am I');
        assert.deepEqual((await ada.texts()).slice(-2), ['still here', 'so am I']);
    }],
    ['Eve, who cannot reconnect, leaves within 5.5 s', async () => {
        const gone = await absence();
        await ada.waitForAbsence('Eve');
        console.log(`     Eve has left after ${gone} ms`);
        assert.ok(gone <= MAX_SHOWN, `${gone} ms`);
        assert.equal((await bob.notices('Eve')).at(-1), 'Eve has left');
    }],
    ['no user of the dead node is shown, and Bob has seen one move of Ada', async () => {
        for (const person of [ada, bob]) assert.deepEqual(await person.people(), [`Ada Lovelace: ${survivor}`, `Bob: ${survivor}`]);
        assert.deepEqual((await bob.notices('Ada Lovelace')).slice(noticed), [`Ada Lovelace is on ${survivor} now`]);
        await picture(ada.page, 'killed');
    }],
    ['messages that Eve wrote offline are sent when she reconnects, and she receives those that she missed', async () => {
        await eve.sendMessage('is this delivered?');
        await eve.page.locator('#unconfirmed', { hasText: 'is this delivered?' }).waitFor();
        await picture(eve.page, 'offline');
        await eve.context.setOffline(false);
        await eve.waitForNode(survivor);
        await bob.waitForPerson('Eve', survivor);
        await bob.waitForMessage('is this delivered?');
        assert.equal((await bob.texts()).filter((text) => text === 'is this delivered?').length, 1);
        for (const text of ['still here', 'so am I', 'is this delivered?']) await eve.waitForMessage(text);
        assert.equal(await eve.page.locator('#unconfirmed li').count(), 0);
    }],
    ['the dead node is started again and serves new clients', async () => {
        await ada.startNode(victim);
        await Promise.all([ada, bob].map((person) => person.waitForState(victim, 'up')));
        const gil = await openOn(victim, 'Gil');
        await gil.waitForNode(victim);
        await Promise.all([ada, bob, eve].map((person) => person.waitForPerson('Gil', victim)));
        for (const name of ['Ada Lovelace', 'Bob', 'Eve']) await gil.waitForPerson(name, survivor);
        await gil.sendMessage('hello from the new one');
        await bob.waitForMessage('hello from the new one');
        await bob.sendMessage('welcome');
        await gil.waitForMessage('welcome');
        await gil.context.close();
        await bob.waitForAbsence('Gil');
    }],
    ['without nodes clients wait, and connect to the first that is up', async () => {
        for (const node of [victim, survivor]) {
            await bob.killNode(node);
            await bob.waitForState(node, 'down');
        }
        for (const person of [ada, bob, eve]) await person.page.locator('#connection[data-state=looking]').waitFor();
        await ada.sendMessage('where are you all?');
        await bob.startNode(victim);
        for (const person of [ada, bob, eve]) await person.waitForNode(victim);
        const expected = [`Ada Lovelace: ${victim}`, `Bob: ${victim}`, `Eve: ${victim}`];
        for (const person of [ada, bob, eve]) {
            await until('all users are shown', async () => String(await person.people()) === String(expected));
        }
        for (const person of [ada, bob, eve]) await person.waitForMessage('where are you all?');
        await ada.sendMessage('here again');
        for (const person of [ada, bob, eve]) await person.waitForMessage('here again');
    }],
    ['behind a load balancer, a page reconnects to another node when its node is killed', async () => {
        const deployment = await Deployment.start(launcher.redis);
        try {
            const hal = await Person.open(browser, deployment.url, 'Hal');
            assert.equal(await hal.page.locator('#nodes-section').isVisible(), false, 'there is no launcher');
            const node = await hal.node();
            await ada.waitForPerson('Hal', node);
            await hal.page.waitForFunction(() => {
                const { scrollTop, scrollHeight, clientHeight } = document.getElementById('scroller');
                return scrollTop > 0 && scrollHeight - scrollTop - clientHeight < 2;
            });
            await picture(hal.page, 'deployed');
            deployment.nodes.get(node).child.kill('SIGKILL');
            const other = node === 'north' ? 'south' : 'north';
            await ada.waitForPerson('Hal', other);
            await hal.sendMessage('moved');
            await Promise.all([ada, bob, eve].map((person) => person.waitForMessage('moved')));
            assert.deepEqual(hal.faults, []);
            await hal.context.close();
            await ada.waitForAbsence('Hal');
        } finally {
            deployment.kill();
        }
    }],
    ['after SIGTERM a node is not ready, and then ends', async () => {
        const node = await Node.start('third', launcher.redis, { DRAIN_DELAY: '1' });
        assert.deepEqual([await node.status('/health'), await node.status('/ready')], [200, 200]);
        node.child.kill('SIGTERM');
        await until('it is not ready', async () => await node.status('/ready') === 503);
        assert.equal(await node.status('/health'), 200);
        assert.deepEqual(await node.ended, [0, null]);
    }],
    ['each page has received every message once, whichever nodes were killed under it', async () => {
        for (const person of [ada, bob, eve]) {
            const { received, missing, repeated } = await person.tally();
            assert.deepEqual([missing, repeated], ['0', '0'], person.name);
            // Eve has come when a few messages had been sent, which a newcomer gets as well.
            assert.equal(received, (await bob.tally()).received, person.name);
        }
    }],
    ['the theme follows the system until the user chooses one', async () => {
        await checkTheme(bob.page);
        await bob.page.emulateMedia({ colorScheme: null });
    }],
    ['no page has thrown an error or violated its content security policy', async () => {
        for (const person of [ada, bob, eve]) assert.deepEqual(person.faults, [], person.name);
    }],
    ['SIGINT ends all processes', async () => {
        const children = await descendants(launcher.child.pid);
        assert.equal(children.length, 3, 'a node, Redis and its supervisor');
        assert.deepEqual(await launcher.end('SIGINT'), [0, null]);
        assert.deepEqual(children.filter(isAlive), []);
    }],
    ['a killed launcher leaves no process behind', async () => {
        // Redis ends together with the nodes, which therefore log errors.
        const second = await Launcher.start({ stderr: 'ignore' });
        const children = await descendants(second.child.pid);
        assert.equal(children.length, 4, 'two nodes, Redis and its supervisor');
        await second.end('SIGKILL');
        await until('all processes have ended', () => !children.some(isAlive));
    }],
];

await run(checks, async () => {
    await browser.close();
    launcher.child.kill('SIGKILL');
});
