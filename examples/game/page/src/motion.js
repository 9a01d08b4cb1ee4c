// Positions between two ticks. The page shows a moment in the past, for which the ticks before and after are known, so that
// jitter of the network does not disturb the motion.

/** The delay of the shown moment, in milliseconds: a little more than two ticks. */
const DELAY = 120;

/** The longest time for which a motion is continued without a tick. */
const BEYOND = 150;

const KEPT = 12;

export class Motion {
    me = null;
    /** The content of the last tick: a map of fish by id, and the crumbs. */
    latest = new Map();
    crumbs = [];
    ticks = [];
    offset = null;

    reset ({ you }) {
        this.me = you.id;
        this.ticks = [];
        this.offset = null;
    }

    add ({ at, fish, crumbs }) {
        const now = performance.now();
        // The clock of the server is estimated by the tick with the shortest delay. The estimate slowly ages, to follow drift.
        const offset = at - now;
        this.offset = this.offset === null ? offset : Math.max(offset, this.offset - 0.1);
        this.latest = fishById(fish);
        this.crumbs = crumbs;
        this.ticks.push({ at, fish: this.latest });
        if (this.ticks.length > KEPT) this.ticks.shift();
    }

    /** All fish at the shown moment. */
    shown () {
        const { ticks } = this;
        if (ticks.length < 2) return this.latest;
        const time = performance.now() + this.offset - DELAY;
        let next = ticks.findIndex(({ at }) => at > time);
        if (next === 0) return ticks[0].fish;
        if (next < 0) next = ticks.length - 1;
        const [before, after] = [ticks[next - 1], ticks[next]];
        const part = (Math.min(time, after.at + BEYOND) - before.at) / (after.at - before.at);
        const shown = new Map();
        for (const [id, to] of after.fish) {
            const from = before.fish.get(id) ?? to;
            const heading = from.heading + turn(from.heading, to.heading) * part;
            const [x, y] = [from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part];
            const speed = Math.hypot(to.x - from.x, to.y - from.y) / (after.at - before.at) * 1000;
            shown.set(id, { ...to, x, y, heading, speed });
        }
        return shown;
    }
}

/** The fish of a tick: six numbers for each, in the order of tick.rs. */
function fishById (numbers) {
    const fish = new Map();
    for (let at = 0; at < numbers.length; at += 6) {
        const [id, x, y, heading, level, energy] = numbers.slice(at, at + 6);
        fish.set(String(id), { id: String(id), x, y, heading: heading / 100, level, energy: energy / 100, speed: 0 });
    }
    return fish;
}

/** The shorter way from one heading to another. */
function turn (from, to) {
    const way = (to - from) % (2 * Math.PI);
    return (2 * way) % (2 * Math.PI) - way;
}
