// The lobby, over the official client: on one node, and when that is lost on the next one.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

/** How long we wait when one node after the other does not let us in, in milliseconds. */
const PAUSE = 300;

/** How long a node may take to let us in. */
const PATIENCE = 3000;

export class Pond {
    /** The channel, while we are in it. */
    channel = null;
    /** What we have said and not heard yet: `id -> text`. A node may have died with it, so the next one gets it again. */
    unheard = new Map();
    heard = new Set();

    /** `nextNode` gives a node that is up; `on` has a callback for each thing that there is to show. */
    constructor (me, nextNode, on) {
        this.me = me;
        this.nextNode = nextNode;
        this.on = on;
    }

    /** Stays in the lobby for ever. */
    async stay () {
        let failures = 0;
        for (;;) {
            this.on.node(null);
            // Once more without a pause: the first may be the one that has just died, before the launcher has seen it.
            if (failures > 1) await new Promise((resolve) => setTimeout(resolve, PAUSE));
            const node = await this.nextNode().catch(() => null);
            const wasIn = node && await this.visit(node);
            failures = wasIn ? 0 : failures + 1;
        }
    }

    say (text) {
        const id = crypto.randomUUID();
        this.unheard.set(id, text);
        this.on.unheard([...this.unheard.values()]);
        this.channel?.sendMessage('message', { id, text });
    }

    /** Goes into the lobby on this node, and is done when the connection ends. Whether we were in. */
    visit (node) {
        return new Promise((resolve) => {
            let wasIn = false;
            const client = new PondClient(node.url, this.me, { connectionTimeout: PATIENCE });
            const channel = client.createChannel('/pond');
            // Before the join: its answer may come at once.
            channel.onUsersChange((people) => this.on.people(people));
            channel.onMessageEvent('message', (message) => this.received(message));
            channel.onChannelStateChange((state) => {
                if (state !== ChannelState.JOINED) return;
                wasIn = true;
                this.entered(channel, node);
            });
            channel.join();
            client.connect();
            const unsubscribe = client.onConnectionChange((state) => {
                if (state !== ConnectionState.DISCONNECTED) return;
                unsubscribe();
                // Left alone it would go on trying this node, which may be gone for ever.
                client.disconnect();
                this.channel = null;
                resolve(wasIn);
            });
        });
    }

    entered (channel, node) {
        this.channel = channel;
        this.on.node(node.name);
        for (const [id, text] of this.unheard) channel.sendMessage('message', { id, text });
    }

    received (message) {
        this.unheard.delete(message.id);
        this.on.unheard([...this.unheard.values()]);
        if (this.heard.has(message.id)) return;
        this.heard.add(message.id);
        this.on.message(message);
    }
}
