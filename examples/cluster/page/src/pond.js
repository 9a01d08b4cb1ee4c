// The channel, over the official client: on one node, and after a lost connection on the next one.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';
import { Resume } from '@page/resume.js';
import { Tally } from './tally.js';

/** The pause after a node has not accepted the client, in milliseconds. */
const PAUSE = 300;

/** The time limit for a join, in milliseconds. */
const PATIENCE = 3000;

export class Pond {
    /** The channel, from the acknowledgement to the end of the connection. */
    channel = null;
    /** Messages that were sent and not received back: `id -> text`. A killed node may have lost them, so they are sent again to the next one. */
    unconfirmed = new Map();
    shown = new Set();
    tally = new Tally();
    /** The position of this page in the channel, which is the same on all nodes. */
    resume = new Resume({}, { onGap: () => this.tally.skip() });

    /** `me` has a name and a token; `nextNode` returns a node that is up; `on` has a callback for each event that the page shows. */
    constructor (me, nextNode, on) {
        this.me = me;
        this.nextNode = nextNode;
        this.on = on;
    }

    /** Stays in the channel until the name is refused. */
    async stay () {
        let failures = 0;
        for (this.isRefused = false; !this.isRefused;) {
            this.on.node(null);
            // The second attempt follows without a pause: the first node may have just died, unnoticed by the launcher.
            if (failures > 1) await new Promise((resolve) => setTimeout(resolve, PAUSE));
            const node = await this.nextNode().catch(() => null);
            const wasIn = node && await this.visit(node);
            failures = wasIn ? 0 : failures + 1;
        }
        this.on.refused();
    }

    say (text) {
        const id = crypto.randomUUID();
        this.unconfirmed.set(id, text);
        this.on.unconfirmed([...this.unconfirmed.values()]);
        this.channel?.sendMessage('message', { id, text });
    }

    typing (isTyping) {
        this.channel?.sendMessage('typing', { isTyping });
    }

    /** Joins the channel on a node, and completes when the connection ends. Returns whether the join was accepted. */
    visit (node) {
        return new Promise((resolve) => {
            let wasIn = false;
            // The node is known from the launcher, or behind a load balancer from the own presence.
            let where = node.name;
            const { name, token } = this.me;
            const client = new PondClient(node.url, { name, token }, { connectionTimeout: PATIENCE });
            const channel = client.createChannel('/pond', this.resume.params);
            // Before the join, because its answer may arrive at once.
            channel.onUsersChange((people) => {
                this.on.people(people);
                where = node.name ?? people.find(({ id }) => id === name.toLowerCase())?.node;
                if (where && this.channel === channel) this.on.node(where);
            });
            const received = this.resume.messages((event, message) => { if (event === 'message') this.received(message); });
            channel.onMessage((event, message) => {
                if (message._pos) this.tally.note(message._pos);
                received(event, message);
                this.on.tally(this.tally);
            });
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
                // Otherwise the client would retry this node, which may never come back.
                client.disconnect();
                this.channel = null;
                resolve(wasIn);
            });
        });
    }

    entered (channel) {
        this.channel = channel;
        for (const [id, text] of this.unconfirmed) channel.sendMessage('message', { id, text });
    }

    received (message) {
        this.unconfirmed.delete(message.id);
        this.on.unconfirmed([...this.unconfirmed.values()]);
        if (this.shown.has(message.id)) return;
        this.shown.add(message.id);
        this.on.message(message);
    }
}
