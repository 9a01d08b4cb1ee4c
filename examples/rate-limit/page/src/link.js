// The connection, over the official client, which reconnects by itself.

import { ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

export class Link {
    wasIn = false;

    /** `on` has a callback for each event that the page shows. */
    constructor (on) {
        const client = new PondClient(new URL('/api/socket', location.href).href);
        this.channel = client.createChannel('/lab');
        // Before the join, because its answer may arrive at once.
        this.channel.onMessageEvent('welcome', ({ limits }) => on.welcome(limits));
        this.channel.onMessageEvent('stats', (stats) => on.stats(stats));
        client.onConnectionChange((state) => {
            const connected = state === ConnectionState.CONNECTED;
            this.wasIn ||= connected;
            on.connection(connected ? 'connected' : this.wasIn ? 'reconnecting' : 'connecting');
        });
        this.channel.join();
        client.connect();
    }

    /** Sends an event. Returns the answer and the time that it took: `{ answer, took }`. */
    async ask (event) {
        const since = performance.now();
        const answer = await this.channel.sendForResponse(event, {});
        return { answer, took: performance.now() - since };
    }

    /** Sends without waiting for answers. */
    send (event) {
        this.channel.sendMessage(event, {});
    }
}
