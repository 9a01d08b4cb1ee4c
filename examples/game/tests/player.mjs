// A player with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

/** The size of the pond. */
const POND = { x: 2400, y: 1600 };

export class Player {
    /** Opens a window of its own; the address says the name, so that the player dives in at once. */
    static async open (browser, url, name, options = {}) {
        const player = new Player();
        player.name = name;
        Object.assign(player, await openPage(browser, { viewport: { width: 760, height: 520 }, reducedMotion: null, ...options }));
        player.page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => player.received(payload)));
        await player.page.goto(`${url}/?name=${encodeURIComponent(name)}`);
        await player.isIn();
        return player;
    }

    /** What comes over the page's own socket: who it is, and the last tick. */
    received (text) {
        if (text.includes('"event":"tick"')) this.tick = text;
        if (text.includes('"event":"welcome"')) this.id = Number(JSON.parse(text).payload.you.id);
    }

    /** Waits until the fish is in the water. */
    async isIn () {
        await this.page.locator('#connection[data-state=connected]').waitFor({ state: 'attached' });
        await this.page.locator('#title:not(:empty)').waitFor();
    }

    /** Where somebody's fish is, as this page was last told. */
    where (player) {
        const { fish } = JSON.parse(this.tick).payload;
        const at = fish.findIndex((number, index) => index % 6 === 0 && number === player.id);
        return at < 0 ? null : { x: fish[at + 1], y: fish[at + 2] };
    }

    /** Waits until this page is told that somebody's fish has come so far in one direction. */
    async seesMoved (player, axis, from, by) {
        await until(`${player.name} has moved`, () => {
            const now = this.where(player)?.[axis];
            return by > 0 ? now >= from + by : now <= from + by;
        });
    }

    /** The direction, -1 or 1, in which there is more room for the own fish. */
    roomier (axis) {
        return this.where(this)[axis] < POND[axis] / 2 ? 1 : -1;
    }

    async number (id) {
        return Number(await this.page.textContent(`#${id}`));
    }

    /** Waits until a number on the page is at least this. */
    async reaches (id, least) {
        await this.page.waitForFunction(([id, least]) => Number(document.getElementById(id).textContent) >= least, [id, least], { timeout: 60_000 });
    }

    /** Waits until there are so many players. */
    async counts (count) {
        await this.page.locator('#players', { hasText: new RegExp(`^${count}$`) }).waitFor({ timeout: 40_000 });
    }

    /** The names and scores of the leaderboard, the first one first. */
    leaders () {
        return this.page.locator('#leaders li').evaluateAll((rows) => rows.map((row) => (
            { name: row.querySelector('.name').textContent, score: Number(row.querySelector('.score').textContent) })));
    }

    async findsInBoard (name) {
        await this.page.locator('#leaders .name', { hasText: name }).waitFor();
    }

    /** Waits for an achievement. */
    async reads (text) {
        await this.page.locator('#feed li', { hasText: text }).first().waitFor({ timeout: 60_000 });
    }
}

async function until (what, check) {
    const end = Date.now() + 20_000;
    while (!check()) {
        if (Date.now() > end) throw new Error(`not yet: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
}
