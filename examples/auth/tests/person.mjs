// A user with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Person {
    /** Opens a window and signs in to an account. */
    static async open (browser, url, account, { renews = true, room = 'lobby' } = {}) {
        const person = new Person();
        Object.assign(person, await openPage(browser));
        await person.page.goto(`${url}/#${room}`);
        await person.signIn(account);
        if (!renews) await person.page.uncheck('#auto');
        return person;
    }

    async signIn (account) {
        await this.page.click(`[data-account=${account}]`);
        await this.waitForConnection();
    }

    async waitForConnection () {
        await this.page.locator('#connection[data-state=connected]').waitFor();
    }

    /** Goes to a room, and waits until the page shows it, whether the join is accepted or declined. */
    async enterRoom (room) {
        await this.page.click(`.rooms a[data-room=${room}]`);
        await this.page.locator('#room-name', { hasText: `# ${room}` }).waitFor();
    }

    /** Waits until a user is in the list of members. */
    async waitForMember (name) {
        await this.page.locator('#people', { hasText: name }).waitFor();
    }

    async sendMessage (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    async waitForMessage (text) {
        await this.page.locator('#messages .body', { hasText: text }).first().waitFor();
    }

    async waitForToast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }

    /** Waits until the page shows that its token is refused, with this code and reason. */
    async waitForRefusal (code, why) {
        await this.page.locator('#refused-code', { hasText: code }).waitFor();
        await this.page.locator('#refused-why', { hasText: why }).waitFor();
    }

    rightIn (room) {
        return this.page.locator(`.rooms a[data-room=${room}] .badge`).textContent();
    }
}
