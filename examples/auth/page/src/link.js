// The connection, over the official client. It belongs to a token, which can be renewed on it.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

/** The pause before a reconnect, in milliseconds. */
const PAUSE = 500;

export class Link {
    /** `on` has a callback for each event that the page shows. */
    constructor (token, on) {
        this.token = token;
        this.on = on;
        this.connect();
    }

    connect () {
        this.on.connection(this.wasIn ? 'reconnecting' : 'connecting');
        const client = new PondClient(new URL('/api/socket', location.href).href, { token: this.token });
        this.client = client;
        client.connect();
        // After connect, because a listener is called at once with the present state.
        this.unsubscribe = client.onConnectionChange((state) => {
            if (state === ConnectionState.CONNECTED) { this.wasIn = true; this.on.connection('connected'); }
            if (state === ConnectionState.DISCONNECTED) this.lost();
        });
        if (this.room) this.open(this.room);
    }

    open (room) {
        this.channel?.leave();
        this.room = room;
        const channel = this.client.createChannel(`/rooms/${room}`);
        this.channel = channel;
        // Late messages of a room that was left must not appear in the current one.
        const mine = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        // Before the join, because its answer may arrive at once.
        channel.onMessage(mine((event, payload) => this.received(event, payload)));
        channel.onUsersChange(mine((people) => this.on.people(people)));
        channel.onChannelStateChange(mine((state) => { if (state === ChannelState.DECLINED) this.on.declined(room); }));
        channel.join();
    }

    received (event, payload) {
        if (payload.code && payload.message) return this.on.problem(payload);
        if (event === 'welcome') this.on.welcome(payload);
        if (event === 'message') this.on.message(payload);
    }

    say (text) {
        this.channel.sendMessage('message', { text });
    }

    /** Renews the token of the connection. Returns whether the server has accepted the new one. */
    async renew (token) {
        const answer = await this.channel.sendForResponse('renew', { token });
        if (answer.code) return this.on.problem(answer);
        this.token = token;
        return true;
    }

    /**
     * The client would come again with the token that it had first, and would never learn that this one is refused. So
     * we ask, and come again ourselves.
     */
    async lost () {
        this.disconnect();
        if (this.closed) return;
        this.on.connection(this.wasIn ? 'reconnecting' : 'connecting');
        if (await this.on.lost() && !this.closed) setTimeout(() => this.closed || this.connect(), PAUSE);
    }

    close () {
        this.closed = true;
        this.disconnect();
    }

    disconnect () {
        this.unsubscribe?.();
        this.channel = null;
        this.client.disconnect();
    }
}
