// Somebody who writes, with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

export class Writer {
    static async open (browser, url, name, document = 'notes') {
        const writer = new Writer();
        writer.name = name;
        Object.assign(writer, await openPage(browser));
        await writer.page.goto(`${url}/?name=${encodeURIComponent(name)}#${document}`);
        await writer.isReady();
        return writer;
    }

    /** Waits until the document is here and all of ours is stored. */
    async isReady () {
        await this.page.locator('#text:enabled').waitFor();
        await this.page.locator('#saved[data-state=saved]').waitFor();
    }

    get area () {
        return this.page.locator('#text');
    }

    text () {
        return this.area.inputValue();
    }

    /** Writes where the cursor is. */
    async types (text) {
        await this.area.pressSequentially(text);
    }

    /** Puts the cursor somewhere, or selects. */
    async selects (from, to = from) {
        await this.area.focus();
        await this.area.evaluate((area, [from, to]) => area.setSelectionRange(from, to), [from, to]);
    }

    /** Waits until the whole text is this. */
    async reads (text) {
        try {
            await this.page.waitForFunction((text) => document.getElementById('text').value === text, text);
        } catch {
            throw new Error(`${this.name} reads ${JSON.stringify(await this.text())}, not ${JSON.stringify(text)}`);
        }
    }

    async saved (state) {
        await this.page.locator(`#saved[data-state=${state}]`).waitFor();
    }

    async togglesOffline () {
        await this.page.click('#offline');
    }

    async connection (state) {
        await this.page.locator(`#connection[data-state=${state}]`).waitFor({ state: 'attached' });
    }

    async sees (name) {
        await this.page.locator(`#people [data-name="${name}"]`).waitFor();
    }

    async misses (name) {
        await this.page.locator(`#people [data-name="${name}"]`).waitFor({ state: 'detached' });
    }

    /** Waits until somebody's cursor stands behind this text. */
    async seesCursor (name, before) {
        await this.page.waitForFunction(([name, before]) => {
            const caret = document.querySelector(`#marks .caret[data-name="${name}"]`);
            if (!caret) return false;
            const range = document.createRange();
            range.setStart(document.getElementById('marks'), 0);
            range.setEndBefore(caret);
            // Without the names on the flags of others.
            const behind = range.cloneContents();
            behind.querySelectorAll('.flag').forEach((flag) => flag.remove());
            return behind.textContent === before;
        }, [name, before]);
    }

    async seesSelected (text) {
        await this.page.locator('#marks mark', { hasText: text }).waitFor({ state: 'attached' });
    }

    async toast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }
}
