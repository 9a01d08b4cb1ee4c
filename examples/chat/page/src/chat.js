// One connection with one room at a time, over the official client, which reconnects and rejoins by itself. The page gets what
// it missed meanwhile.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';
import { Resume } from '@page/resume.js';
import { isKnown } from './session.js';

export class Chat {
    room = null;
    status = 'online';
    /** The channel of the client, from the join to the leave. */
    channel = null;
    /** True from the welcome of the server until the connection ends. */
    inside = false;
    /** Messages that were written without a membership: `{ room, event, payload }`. */
    waiting = [];

    /** `on` has a callback for each event of the server. */
    constructor (token, on) {
        this.on = on;
        this.connect(token);
    }

    /** Connects with a token, in place of an existing connection. */
    connect (token) {
        this.disconnect();
        this.token = token;
        const client = new PondClient(new URL('/api/socket', location.href).href, { token });
        this.client = client;
        this.unsubscribe = [client.onConnectionChange((state) => this.connectionChanged(state)), client.onError(() => this.check())];
        if (this.channel) this.join();
        this.on.connection(this.welcomed ? 'reconnecting' : 'connecting');
        client.connect();
    }

    open (room) {
        this.channel?.leave();
        this.room = room;
        // Until another room is opened: also for another connection, and after a removal.
        this.resume = new Resume({ status: this.status }, { onGap: () => this.on.gap() });
        this.join();
        this.reportWaiting();
    }

    /**
     * Says something to all, or privately to one. While we are not inside it waits. What is sent in the moments
     * before a broken connection is noticed is lost: for more than a chat, wait for the answer and send again.
     */
    say (text, to) {
        const [event, payload] = to ? ['private_message', { to: to.id, text }] : ['message', { text }];
        if (this.inside) return this.channel.sendMessage(event, payload);
        this.waiting.push({ room: this.room, event, payload });
        this.reportWaiting();
    }

    typing (isTyping) {
        if (this.inside) this.channel.sendMessage('typing', { isTyping });
    }

    setStatus (status) {
        this.status = status;
        if (!this.resume) return;
        this.resume.params.status = status;
        if (this.inside) this.channel.sendMessage('status_update', { status });
        // A join may be under way with the former one.
        else this.statusIsLate = true;
    }

    kick (userId) {
        if (this.inside) this.channel.sendMessage('kick', { userId });
    }

    close () {
        this.disconnect();
        this.closed = true;
    }

    /** Joins the room, also after a removal. */
    join () {
        this.inside = false;
        const channel = this.client.createChannel(`/chat/${this.room}`, this.resume.params);
        this.channel = channel;
        // Late messages of a room that was left must not appear in the current one.
        const mine = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        // Before the join, because its answer may arrive at once.
        channel.onMessage(mine(this.resume.messages((event, payload) => this.received(event, payload))));
        channel.onUsersChange(mine((people) => this.on.people(people)));
        channel.onChannelStateChange(mine((state) => {
            if (state === ChannelState.DECLINED) this.on.problem('You cannot enter this room.');
        }));
        channel.join();
    }

    received (event, payload) {
        if (payload.code && payload.message) return this.on.problem(payload.message);
        switch (event) {
            case 'welcome': return this.welcome();
            case 'message':
            case 'private_message': return payload.from && this.on.message(payload);
            case 'typing': return this.on.typing(payload);
            case 'user_evicted': return this.on.removed(payload.userId);
            case 'evicted': return this.evicted(payload.reason);
        }
    }

    welcome () {
        this.inside = this.welcomed = true;
        this.on.welcome();
        if (this.statusIsLate) this.setStatus(this.status);
        this.statusIsLate = false;
        for (const said of this.waitingHere()) this.channel.sendMessage(said.event, said.payload);
        this.waiting = this.waiting.filter(({ room }) => room !== this.room);
        this.reportWaiting();
    }

    evicted (reason) {
        // Otherwise the client would rejoin at its next reconnect.
        const channel = this.channel;
        this.channel = null;
        this.inside = false;
        channel.leave();
        this.on.kicked(reason);
    }

    waitingHere () {
        return this.waiting.filter(({ room }) => room === this.room);
    }

    reportWaiting () {
        this.on.waiting(this.waitingHere().map(({ payload }) => payload.text));
    }

    connectionChanged (state) {
        if (state === ConnectionState.CONNECTED) return this.on.connection('connected');
        this.inside = false;
        this.on.connection(this.welcomed ? 'reconnecting' : 'connecting');
        if (state === ConnectionState.DISCONNECTED) this.check();
    }

    /** Checks after a failure whether the server still knows the token. */
    async check () {
        if (this.checking || this.closed) return;
        this.checking = true;
        try {
            if (!(await isKnown(this.token)) && !this.closed) await this.on.unknown();
        } catch {
            // The server does not answer, so the client keeps retrying.
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
