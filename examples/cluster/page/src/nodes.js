// What the launcher knows of the nodes, and does to them.

/** How often we ask, in milliseconds. */
const PACE = 1000;

export class Nodes {
    /** `show` is called with all nodes, `[{ name, state, pid?, url? }]`; with `null` when the launcher does not answer. */
    constructor (show) {
        this.show = show;
        this.asked = this.shown = 0;
        this.look();
        setInterval(() => this.look(), PACE);
    }

    /** A node that is up. Fails if there is none. */
    next () {
        return ask('/nodes/next');
    }

    kill (name) {
        return this.update(ask(`/nodes/${name}/kill`, { method: 'POST' }));
    }

    start (name) {
        return this.update(ask(`/nodes/${name}/start`, { method: 'POST' }));
    }

    look () {
        return this.update(ask('/nodes'));
    }

    /** Shows the answer, unless a later question has been answered already. */
    async update (answer) {
        const number = ++this.asked;
        const nodes = await answer.catch(() => null);
        if (number < this.shown) return;
        this.shown = number;
        this.show(nodes);
    }
}

async function ask (path, how) {
    const answer = await fetch(path, how);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
}
