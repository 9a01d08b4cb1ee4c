// A user with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Person {
    /** Opens a window, and waits until the user is in the channel. */
    static async open (browser, url, name) {
        const person = await Person.visit(browser, url, name);
        await person.waitForPerson(name, await person.node());
        return person;
    }

    /** Opens a window without waiting, also for a name that is refused. */
    static async visit (browser, url, name) {
        const person = new Person();
        person.name = name;
        Object.assign(person, await openPage(browser));
        await person.page.goto(`${url}/?name=${encodeURIComponent(name)}`);
        return person;
    }

    row (name) {
        return this.page.locator('.person', { has: this.page.locator('.name', { hasText: name }) });
    }

    card (node) {
        return this.page.locator(`.node[data-node=${node}]`);
    }

    /** The node that serves this window, as soon as one does. */
    node () {
        return this.page.locator('#connection .chip').textContent();
    }

    /** Waits until this node serves this window, and its card shows that. */
    async waitForNode (node) {
        await this.page.locator('#connection .chip', { hasText: node }).waitFor();
        await this.page.locator(`.node.serves[data-node=${node}]`).waitFor();
    }

    /** Waits until a user is shown once, on this node. */
    async waitForPerson (name, node) {
        await this.row(name).locator(`.chip[data-node=${node}]`).waitFor({ state: 'attached' });
    }

    /** Waits until a user is not shown. */
    async waitForAbsence (name) {
        await this.row(name).waitFor({ state: 'detached' });
    }

    /** The users with their nodes, sorted: `['Ada: one', ...]`. */
    async people () {
        const rows = await this.page.locator('.person').all();
        const people = rows.map(async (row) => `${await row.locator('.name').textContent()}: ${await row.locator('.chip').textContent()}`);
        return (await Promise.all(people)).sort();
    }

    async sendMessage (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    /** Waits until a user is shown as typing. */
    async waitForTyping (name) {
        await this.page.locator('#typing.active', { hasText: `${name} is typing` }).waitFor();
    }

    /** Waits until a message is shown. */
    async waitForMessage (text) {
        await this.page.locator('#messages .body', { hasText: text }).first().waitFor();
    }

    /** All messages that are shown. */
    texts () {
        return this.page.locator('#messages .body').allTextContents();
    }

    /** The messages that the page has received, by their positions. */
    tally () {
        return this.page.locator('#tally').evaluate(({ dataset }) => ({ ...dataset }));
    }

    /** The notices about a user. */
    notices (name) {
        return this.page.locator('.notice', { hasText: name }).allTextContents();
    }

    /** The positions of the parts of the page that must not move. */
    async places () {
        const parts = await this.page.locator('.node, .node-button, .room-header, #connection, #people, #composer').all();
        return Promise.all(parts.map((part) => part.boundingBox()));
    }

    async killNode (node) {
        await this.card(node).getByRole('button', { name: 'Kill' }).click();
    }

    async startNode (node) {
        await this.card(node).getByRole('button', { name: 'Start' }).click();
    }

    /** Waits until a node is shown in this state. */
    async waitForState (node, state) {
        await this.page.locator(`.node[data-node=${node}][data-state=${state}]`).waitFor();
    }
}
