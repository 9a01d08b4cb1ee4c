// Somebody with a browser window.

export class Person {
    /** Opens a window of its own and signs in. */
    static async open (browser, url, name, { admin = false, ...options } = {}) {
        const person = new Person();
        person.name = name;
        person.context = await browser.newContext({ viewport: { width: 1100, height: 760 }, reducedMotion: 'reduce', ...options });
        person.page = await person.context.newPage();
        person.page.setDefaultTimeout(10000);
        person.faults = [];
        person.page.on('pageerror', (error) => person.faults.push(error.message));
        await person.page.goto(url);
        await person.page.fill('#name', name);
        if (admin) {
            await person.page.click('summary');
            await person.page.fill('#admin-code', 'sesame');
        }
        await person.page.click('#sign-in-form button[type=submit]');
        await person.sees(name);
        return person;
    }

    /** Waits until somebody is in the list of people, with this status. */
    async sees (name, status = 'online') {
        await this.page.locator('.person', { hasText: name }).filter({ hasText: status }).waitFor({ state: 'attached' });
    }

    /** Waits until somebody is not in the list any more. */
    async misses (name) {
        await this.page.locator('.person', { hasText: name }).waitFor({ state: 'detached' });
    }

    async says (text) {
        await this.page.fill('#text', text);
        await this.page.press('#text', 'Enter');
    }

    /** Waits for a message. */
    async reads (text) {
        await this.page.locator('.message .body', { hasText: text }).first().waitFor();
    }

    /** All messages on the screen. */
    texts () {
        return this.page.locator('.message .body').allTextContents();
    }

    async toast (text) {
        await this.page.locator('.toast', { hasText: text }).first().waitFor();
    }

    async connection (state) {
        await this.page.locator(`#connection[data-state="${state}"]`).waitFor();
    }

    screenshot (file) {
        return this.page.screenshot({ path: file });
    }
}
