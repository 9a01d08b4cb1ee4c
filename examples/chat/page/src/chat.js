// One connection, one room at a time, over the official client. It reconnects and joins again by itself.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';
import { isKnown } from './session.js';

export class Chat {
    room = null;
    status = 'online';
    /** The client's channel, while we are in the room or want to be. */
    channel = null;
    /** Whether the server has welcomed us and the connection still stands. */
    inside = false;
    /** What was written while we were not inside: `{ room, event, payload }`. */
    waiting = [];

    /** `heard` has a callback for each thing that the server can say. */
    constructor (token, heard) {
        this.heard = heard;
        this.connect(token);
    }

    /** Connects with a token; if there is a connection, it is replaced. */
    connect (token) {
        this.disconnect();
        this.token = token;
        const client = new PondClient(new URL('/api/socket', location.href).href, { token });
        this.client = client;
        this.unsubscribe = [client.onConnectionChange((state) => this.connectionChanged(state)), client.onError(() => this.check())];
        if (this.channel) this.join();
        this.heard.connection(this.welcomed ? 'reconnecting' : 'connecting');
        client.connect();
    }

    open (room) {
        this.channel?.leave();
        this.room = room;
        this.join();
        this.tellWaiting();
    }

    /**
     * Says something to all, or privately to one. While we are not inside it waits. What is sent in the moments
     * before a broken connection is noticed is lost: for more than a chat, wait for the answer and send again.
     */
    say (text, to) {
        const [event, payload] = to ? ['private_message', { to: to.id, text }] : ['message', { text }];
        if (this.inside) return this.channel.sendMessage(event, payload);
        this.waiting.push({ room: this.room, event, payload });
        this.tellWaiting();
    }

    typing (isTyping) {
        if (this.inside) this.channel.sendMessage('typing', { isTyping });
    }

    setStatus (status) {
        this.status = status;
        if (this.inside) this.channel.sendMessage('status_update', { status });
    }

    kick (userId) {
        if (this.inside) this.channel.sendMessage('kick', { userId });
    }

    close () {
        this.disconnect();
        this.closed = true;
    }

    /** Enters the room, also again after having been kicked. */
    join () {
        this.inside = false;
        const status = this.status;
        const channel = this.client.createChannel(`/chat/${this.room}`, { status });
        this.channel = channel;
        // What a room says that we have left is not for the one we are in now.
        const mine = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        // Before the join: its answer may come at once.
        channel.onMessage(mine((event, payload) => this.received(event, payload, status)));
        channel.onUsersChange(mine((people) => this.heard.people(people)));
        channel.onChannelStateChange(mine((state) => {
            if (state === ChannelState.DECLINED) this.heard.problem('You cannot enter this room.');
        }));
        channel.join();
    }

    received (event, payload, joinedAs) {
        if (payload.code && payload.message) return this.heard.problem(payload.message);
        switch (event) {
            case 'welcome': return this.welcome(payload, joinedAs);
            case 'message':
            case 'private_message': return payload.from && this.heard.message(payload);
            case 'typing': return this.heard.typing(payload);
            case 'user_evicted': return this.heard.removed(payload.userId);
            case 'evicted': return this.evicted(payload.reason);
        }
    }

    welcome (payload, joinedAs) {
        this.inside = this.welcomed = true;
        this.heard.welcome(payload);
        // The client joins again as it joined first, and our status may have changed since.
        if (this.status !== joinedAs) this.setStatus(this.status);
        for (const said of this.waitingHere()) this.channel.sendMessage(said.event, said.payload);
        this.waiting = this.waiting.filter(({ room }) => room !== this.room);
        this.tellWaiting();
    }

    evicted (reason) {
        // Or the client would join again at its next reconnect.
        const channel = this.channel;
        this.channel = null;
        this.inside = false;
        channel.leave();
        this.heard.kicked(reason);
    }

    waitingHere () {
        return this.waiting.filter(({ room }) => room === this.room);
    }

    tellWaiting () {
        this.heard.waiting(this.waitingHere().map(({ payload }) => payload.text));
    }

    connectionChanged (state) {
        if (state === ConnectionState.CONNECTED) return this.heard.connection('connected');
        this.inside = false;
        this.heard.connection(this.welcomed ? 'reconnecting' : 'connecting');
        if (state === ConnectionState.DISCONNECTED) this.check();
    }

    /** After a failure: perhaps the server does not know us any more. */
    async check () {
        if (this.checking || this.closed) return;
        this.checking = true;
        try {
            if (!(await isKnown(this.token)) && !this.closed) await this.heard.unknown();
        } catch {
            // The server does not answer at all: the client goes on trying.
        } finally {
            this.checking = false;
        }
    }

    disconnect () {
        this.unsubscribe?.forEach((unsubscribe) => unsubscribe());
        this.client?.disconnect();
        this.inside = false;
    }
}
