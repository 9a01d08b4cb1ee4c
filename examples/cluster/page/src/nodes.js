// The launcher: the states of the nodes, and commands for them. Behind a load balancer there is no launcher, and one address for all nodes.

/** The interval of queries, in milliseconds. */
const PACE = 1000;

export class Nodes {
    /** `show` is called with all nodes, `[{ name, state, pid?, url? }]`; with `null` when the launcher does not answer. */
    constructor (show) {
        this.show = show;
        this.asked = this.shown = 0;
        this.isAlone = false;
        this.look();
        const timer = setInterval(() => (this.isAlone ? clearInterval(timer) : this.look()), PACE);
    }

    /** A node that is up, or the load balancer. Fails if no node is up. */
    async next () {
        if (this.isAlone) return { url: new URL('/api/socket', location.href).href };
        return ask('/nodes/next');
    }

    kill (name) {
        return this.update(ask(`/nodes/${name}/kill`, { method: 'POST' }));
    }

    start (name) {
        return this.update(ask(`/nodes/${name}/start`, { method: 'POST' }));
    }

    async look () {
        if (this.isAlone) return;
        return this.update(ask('/nodes'));
    }

    /** Shows an answer, unless that of a later query has been shown already. */
    async update (answer) {
        const number = ++this.asked;
        const nodes = await answer.catch((error) => { this.isAlone ||= error.status === 404; return null; });
        if (number < this.shown) return;
        this.shown = number;
        this.show(nodes);
    }
}

async function ask (path, how) {
    const answer = await fetch(path, how);
    if (!answer.ok) throw Object.assign(new Error(`${path}: ${answer.status}`), { status: answer.status });
    return answer.json();
}
