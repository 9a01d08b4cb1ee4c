// A user with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export const ADMIN_CODE = 'sesame';

export class Person {
    /** Opens a window and signs in. */
    static async open (browser, url, name, { admin = false, room = 'general' } = {}) {
        const person = new Person();
        person.name = name;
        Object.assign(person, await openPage(browser));
        await person.page.goto(`${url}/#${room}`);
        await person.page.fill('#name', name);
        if (admin) {
            await person.page.click('summary');
            await person.page.fill('#admin-code', ADMIN_CODE);
        }
        await person.page.click('#sign-in-form button[type=submit]');
        await person.waitForPerson(name);
        return person;
    }

    row (name) {
        return this.page.locator('.person', { has: this.page.locator('.name', { hasText: name }) });
    }

    /** Waits until a user is in the list of people, with this status. */
    async waitForPerson (name, status = 'online') {
        await this.row(name).locator('.how', { hasText: status }).waitFor({ state: 'attached' });
    }

    /** Waits until a user is not in the list any more. */
    async waitForAbsence (name) {
        await this.row(name).waitFor({ state: 'detached' });
    }

    async sendMessage (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    async sendPrivately (name, text) {
        await this.row(name).locator('.who').click();
        await this.sendMessage(text);
        await this.page.press('#text', 'Escape');
    }

    /** Waits until a message is shown. */
    async waitForMessage (text) {
        await this.page.locator('#messages .body', { hasText: text }).first().waitFor();
    }

    /** All messages that are shown. */
    texts () {
        return this.page.locator('#messages .body').allTextContents();
    }

    async waitForToast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }

    async waitForConnection (...states) {
        await this.page.locator(states.map((state) => `#connection[data-state="${state}"]`).join()).waitFor();
    }

    /** Goes to another room, as a click in the list of rooms does. */
    async enterRoom (room) {
        await this.page.evaluate((room) => { location.hash = room; }, room);
        await this.page.locator(`.rooms a[data-room="${room}"][aria-current]`).waitFor({ state: 'attached' });
        await this.waitForPerson(this.name, '');
    }
}
