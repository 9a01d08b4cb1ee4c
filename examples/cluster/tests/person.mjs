// Somebody with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Person {
    /** Opens a window of its own, and waits until it is in the channel. */
    static async open (browser, url, name) {
        const person = await Person.arrive(browser, url, name);
        await person.sees(name, await person.node());
        return person;
    }

    /** Opens a window of its own, whether the name is accepted or not. */
    static async arrive (browser, url, name) {
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

    /** The node that serves this window; waits until one does. */
    node () {
        return this.page.locator('#connection .chip').textContent();
    }

    /** Waits until this node serves this window, and its card says so. */
    async movesTo (node) {
        await this.page.locator('#connection .chip', { hasText: node }).waitFor();
        await this.page.locator(`.node.serves[data-node=${node}]`).waitFor();
    }

    /** Waits until somebody is there once, on this node. */
    async sees (name, node) {
        await this.row(name).locator(`.chip[data-node=${node}]`).waitFor({ state: 'attached' });
    }

    /** Waits until somebody is not there. */
    async misses (name) {
        await this.row(name).waitFor({ state: 'detached' });
    }

    /** Everybody who is there, and where: `['Ada: one', ...]`, in order. */
    async people () {
        const rows = await this.page.locator('.person').all();
        const people = rows.map(async (row) => `${await row.locator('.name').textContent()}: ${await row.locator('.chip').textContent()}`);
        return (await Promise.all(people)).sort();
    }

    async says (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    /** Waits until somebody is typing. */
    async seesTyping (name) {
        await this.page.locator('#typing.active', { hasText: `${name} is typing` }).waitFor();
    }

    /** Waits for a message. */
    async reads (text) {
        await this.page.locator('#messages .body', { hasText: text }).first().waitFor();
    }

    /** All messages on the screen. */
    texts () {
        return this.page.locator('#messages .body').allTextContents();
    }

    /** What was told about somebody. */
    notices (name) {
        return this.page.locator('.notice', { hasText: name }).allTextContents();
    }

    /** Where the parts of the page are that should stay where they are. */
    async places () {
        const parts = await this.page.locator('.node, .node-button, .room-header, #connection, #people, #composer').all();
        return Promise.all(parts.map((part) => part.boundingBox()));
    }

    async kills (node) {
        await this.card(node).getByRole('button', { name: 'Kill' }).click();
    }

    async starts (node) {
        await this.card(node).getByRole('button', { name: 'Start' }).click();
    }

    /** Waits until a node is shown to be so. */
    async shows (node, state) {
        await this.page.locator(`.node[data-node=${node}][data-state=${state}]`).waitFor();
    }
}
