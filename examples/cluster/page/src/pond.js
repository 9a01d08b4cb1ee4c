// The channel, over the official client: on one node, and when the connection is lost on the next one.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

/** The pause when one node after the other does not let us in, in milliseconds. */
const PAUSE = 300;

/** The time that a node may take to let us in. */
const PATIENCE = 3000;

export class Pond {
    /** The channel, while we are in it. */
    channel = null;
    /** Messages that were sent and not received back: `id -> text`. A node may have died with them, so the next one gets them again. */
    unheard = new Map();
    heard = new Set();
    /** Messages that came before the history, which have to be shown after it. */
    early = null;

    /** `me` has a name and a token; `nextNode` gives a node that is up; `on` has a callback for each thing that there is to show. */
    constructor (me, nextNode, on) {
        this.me = me;
        this.nextNode = nextNode;
        this.on = on;
    }

    /** Stays in the channel for ever, or until the name is refused. */
    async stay () {
        let failures = 0;
        for (this.isRefused = false; !this.isRefused;) {
            this.on.node(null);
            // Once more without a pause: the first may be the one that has just died, before the launcher has noticed.
            if (failures > 1) await new Promise((resolve) => setTimeout(resolve, PAUSE));
            const node = await this.nextNode().catch(() => null);
            const wasIn = node && await this.visit(node);
            failures = wasIn ? 0 : failures + 1;
        }
        this.on.refused();
    }

    say (text) {
        const id = crypto.randomUUID();
        this.unheard.set(id, text);
        this.on.unheard([...this.unheard.values()]);
        this.channel?.sendMessage('message', { id, text });
    }

    typing (isTyping) {
        this.channel?.sendMessage('typing', { isTyping });
    }

    /** Joins the channel on this node, and completes when the connection ends. Returns whether we were in. */
    visit (node) {
        return new Promise((resolve) => {
            let wasIn = false;
            // The launcher tells which node it is. Behind a load balancer our own presence does.
            let where = node.name;
            const { name, token } = this.me;
            const client = new PondClient(node.url, { name, token }, { connectionTimeout: PATIENCE });
            const channel = client.createChannel('/pond');
            // Before the join: its answer may come at once.
            channel.onUsersChange((people) => {
                this.on.people(people);
                where = node.name ?? people.find(({ id }) => id === name.toLowerCase())?.node;
                if (where && this.channel === channel) this.on.node(where);
            });
            channel.onMessageEvent('message', (message) => this.received(message));
            channel.onMessageEvent('history', ({ messages }) => this.remembered(messages));
            channel.onMessageEvent('typing', ({ user, isTyping }) => this.on.typing(user, isTyping));
            channel.onChannelStateChange((state) => {
                if (state === ChannelState.DECLINED) {
                    this.isRefused = true;
                    client.disconnect();
                }
                if (state !== ChannelState.JOINED) return;
                wasIn = true;
                this.entered(channel);
                if (where) this.on.node(where);
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

    entered (channel) {
        this.channel = channel;
        this.early = [];
        channel.sendMessage('history', {});
        for (const [id, text] of this.unheard) channel.sendMessage('message', { id, text });
    }

    /** Shows the recent messages that are new to us, then those that have come meanwhile. */
    remembered (messages) {
        const early = this.early ?? [];
        this.early = null;
        for (const message of [...messages, ...early]) this.received(message);
    }

    received (message) {
        if (this.early) return this.early.push(message);
        this.unheard.delete(message.id);
        this.on.unheard([...this.unheard.values()]);
        if (this.heard.has(message.id)) return;
        this.heard.add(message.id);
        this.on.message(message);
    }
}
