// A player with a browser window.

import { openPage } from '../../page/browser/chromium.mjs';

/** The size of the pond. */
const POND = { x: 2400, y: 1600 };

export class Player {
    /** Opens a window. The address has the name, so the player starts at once. */
    static async open (browser, url, name, options = {}) {
        const player = new Player();
        player.name = name;
        Object.assign(player, await openPage(browser, { viewport: { width: 760, height: 520 }, reducedMotion: null, ...options }));
        player.page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => player.onFrame(payload)));
        await player.page.goto(`${url}/?name=${encodeURIComponent(name)}`);
        await player.waitUntilPlaying();
        return player;
    }

    /** Keeps the id of the player and the last tick, from the frames of the page's socket. */
    onFrame (text) {
        if (text.includes('"event":"tick"')) this.tick = text;
        if (text.includes('"event":"welcome"')) this.id = Number(JSON.parse(text).payload.you.id);
    }

    /** Waits until the page is connected and the game has begun. */
    async waitUntilPlaying () {
        await this.page.locator('#connection[data-state=connected]').waitFor({ state: 'attached' });
        await this.page.locator('#title:not(:empty)').waitFor();
    }

    /** The position of a player's fish in the last tick that this page received. */
    positionOf (player) {
        const { fish } = JSON.parse(this.tick).payload;
        const at = fish.findIndex((number, index) => index % 6 === 0 && number === player.id);
        return at < 0 ? null : { x: fish[at + 1], y: fish[at + 2] };
    }

    /** Waits until this page has received that a player's fish has moved by this distance along an axis. */
    async waitForMove (player, axis, from, by) {
        await until(`the move of ${player.name}`, () => {
            const now = this.positionOf(player)?.[axis];
            return by > 0 ? now >= from + by : now <= from + by;
        });
    }

    /** The direction along an axis, -1 or 1, in which there is more room for the fish of this player. */
    freeDirection (axis) {
        return this.positionOf(this)[axis] < POND[axis] / 2 ? 1 : -1;
    }

    async numberOf (id) {
        return Number(await this.page.textContent(`#${id}`));
    }

    /** Waits until a number on the page is at least this. */
    async waitForNumber (id, least) {
        await this.page.waitForFunction(([id, least]) => Number(document.getElementById(id).textContent) >= least, [id, least], { timeout: 60_000 });
    }

    /** Waits until the page shows this number of players. */
    async waitForPlayers (count) {
        await this.page.locator('#players', { hasText: new RegExp(`^${count}$`) }).waitFor({ timeout: 40_000 });
    }

    /** The names and scores of the leaderboard, in its order. */
    leaders () {
        return this.page.locator('#leaders li').evaluateAll((rows) => rows.map((row) => (
            { name: row.querySelector('.name').textContent, score: Number(row.querySelector('.score').textContent) })));
    }

    async waitForLeader (name) {
        await this.page.locator('#leaders .name', { hasText: name }).waitFor();
    }

    /** Waits until a notice is shown. */
    async waitForNotice (text) {
        await this.page.locator('#feed li', { hasText: text }).first().waitFor({ timeout: 60_000 });
    }
}

async function until (what, check) {
    const end = Date.now() + 20_000;
    while (!check()) {
        if (Date.now() > end) throw new Error(`not in time: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
}
