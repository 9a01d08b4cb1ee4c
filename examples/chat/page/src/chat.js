// One connection, one room at a time. The official client reconnects and joins again by itself.

import { PondClient } from '@eleven-am/pondsocket-client';
import { isKnown } from './session.js';

export class Chat {
    /** `on` holds the callbacks, one for each thing that can happen. */
    constructor (token, on) {
        this.token = token;
        this.on = on;
        this.room = null;
        this.channel = null;
        const url = new URL('/api/socket', location.href);
        this.client = new PondClient(url.toString(), { token });
        this.off = [
            this.client.onConnectionChange((state) => this.connectionChanged(String(state).toLowerCase())),
            this.client.onError(() => this.check()),
        ];
        this.on.connection('connecting');
        this.client.connect();
    }

    open (room) {
        this.channel?.leave();
        this.room = room;
        this.on.room(room);
        this.join();
    }

    rejoin () {
        this.channel.leave();
        this.join();
    }

    say (text) { this.channel.sendMessage('message', { text }); }
    whisper (to, text) { this.channel.sendMessage('private_message', { to, text }); }
    typing (isTyping) { this.channel.sendMessage('typing', { isTyping }); }
    status (status) { this.channel.sendMessage('status_update', { status }); }
    kick (userId) { this.channel.sendMessage('kick', { userId, reason: 'An admin asked you to leave.' }); }

    close () {
        this.closed = true;
        this.off.forEach((unsubscribe) => unsubscribe());
        this.client.disconnect();
    }

    join () {
        const channel = this.client.createChannel(`/chat/${this.room}`, {});
        this.channel = channel;
        // What an earlier room still says is not for this one.
        const mine = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        channel.onMessage(mine((event, payload) => this.received(event, payload)));
        channel.onUsersChange(mine((people) => this.on.people(people)));
        channel.join();
    }

    received (event, payload) {
        if (payload.code && payload.message) return this.on.problem(payload);
        switch (event) {
            case 'welcome': return this.on.welcome(payload);
            case 'message': return payload.from && this.on.message(payload);
            case 'private_message': return payload.from && this.on.private(payload);
            case 'typing': return payload.user && this.on.typing(payload.user, payload.isTyping);
            case 'evicted': return this.on.kicked(payload.reason);
            case 'user_evicted': return this.on.gone(payload.userId);
        }
    }

    connectionChanged (state) {
        this.on.connection(state === 'connected' ? 'connected' : 'reconnecting');
        if (state !== 'connected') this.check();
    }

    /** After a failure: perhaps the server does not know us any more. */
    async check () {
        if (this.checking || this.closed) return;
        this.checking = true;
        try {
            if (!(await isKnown(this.token)) && !this.closed) await this.on.unknown();
        } catch {
            // It does not answer: the client goes on trying, and so do we.
            this.on.connection('offline');
        }
        this.checking = false;
    }
}
