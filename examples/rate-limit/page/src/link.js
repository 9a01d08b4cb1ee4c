// The connection, over the official client, which comes again by itself.

import { ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

export class Link {
    wasIn = false;

    /** `on` has a callback for each thing that there is to show. */
    constructor (on) {
        const client = new PondClient(new URL('/api/socket', location.href).href);
        this.channel = client.createChannel('/lab');
        // Before the join: its answer may come at once.
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

    /** Sends an event. The answer is what the server says to it, and how long that took: `{ answer, took }`. */
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
