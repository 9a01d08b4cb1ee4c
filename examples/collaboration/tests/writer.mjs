// A user that writes, with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Writer {
    static async open (browser, url, name, document = 'notes') {
        const writer = new Writer();
        writer.name = name;
        Object.assign(writer, await openPage(browser));
        await writer.page.goto(`${url}/?name=${encodeURIComponent(name)}#${document}`);
        await writer.waitUntilReady();
        return writer;
    }

    /** Waits until the document is loaded and all changes of this user are stored. */
    async waitUntilReady () {
        await this.page.locator('#text:enabled').waitFor();
        await this.page.locator('#saved[data-state=saved]').waitFor();
    }

    get area () {
        return this.page.locator('#text');
    }

    text () {
        return this.area.inputValue();
    }

    /** Types at the cursor. */
    async type (text) {
        await this.area.pressSequentially(text);
    }

    /** Sets the cursor, or the selection. */
    async select (from, to = from) {
        await this.area.focus();
        await this.area.evaluate((area, [from, to]) => area.setSelectionRange(from, to), [from, to]);
    }

    /** Waits until the whole text equals this one. */
    async waitForText (text) {
        try {
            await this.page.waitForFunction((text) => document.getElementById('text').value === text, text);
        } catch {
            throw new Error(`${this.name} has ${JSON.stringify(await this.text())}, not ${JSON.stringify(text)}`);
        }
    }

    async waitForSaveState (state) {
        await this.page.locator(`#saved[data-state=${state}]`).waitFor();
    }

    async toggleOffline () {
        await this.page.click('#offline');
    }

    async waitForConnection (state) {
        await this.page.locator(`#connection[data-state=${state}]`).waitFor({ state: 'attached' });
    }

    async waitForPerson (name) {
        await this.page.locator(`#people [data-name="${name}"]`).waitFor();
    }

    async waitForAbsence (name) {
        await this.page.locator(`#people [data-name="${name}"]`).waitFor({ state: 'detached' });
    }

    /** Waits until the cursor of a user is behind this text. */
    async waitForCursor (name, before) {
        await this.page.waitForFunction(([name, before]) => {
            const caret = document.querySelector(`#marks .caret[data-name="${name}"]`);
            if (!caret) return false;
            const range = document.createRange();
            range.setStart(document.getElementById('marks'), 0);
            range.setEndBefore(caret);
            // The names on the flags of cursors are no part of the text.
            const behind = range.cloneContents();
            behind.querySelectorAll('.flag').forEach((flag) => flag.remove());
            return behind.textContent === before;
        }, [name, before]);
    }

    async waitForSelection (text) {
        await this.page.locator('#marks mark', { hasText: text }).waitFor({ state: 'attached' });
    }

    async waitForToast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }
}
