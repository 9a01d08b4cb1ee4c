// Somebody with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Person {
    /** Opens a window of its own, signed in to an account. */
    static async open (browser, url, account, { renews = true, room = 'lobby' } = {}) {
        const person = new Person();
        Object.assign(person, await openPage(browser));
        await person.page.goto(`${url}/#${room}`);
        await person.signsIn(account);
        if (!renews) await person.page.uncheck('#auto');
        return person;
    }

    async signsIn (account) {
        await this.page.click(`[data-account=${account}]`);
        await this.connected();
    }

    async connected () {
        await this.page.locator('#connection[data-state=connected]').waitFor();
    }

    /** Goes to a room, and waits until it is in or has been declined. */
    async enters (room) {
        await this.page.click(`.rooms a[data-room=${room}]`);
        await this.page.locator('#room-name', { hasText: `# ${room}` }).waitFor();
    }

    /** Waits until this person is in the room that it wants to be in. */
    async isIn (name) {
        await this.page.locator('#people', { hasText: name }).waitFor();
    }

    async says (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    async reads (text) {
        await this.page.locator('#messages .body', { hasText: text }).first().waitFor();
    }

    async toast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }

    /** Waits until the page says that its token is refused, and why. */
    async isRefused (code, why) {
        await this.page.locator('#refused-code', { hasText: code }).waitFor();
        await this.page.locator('#refused-why', { hasText: why }).waitFor();
    }

    right (room) {
        return this.page.locator(`.rooms a[data-room=${room}] .badge`).textContent();
    }
}
