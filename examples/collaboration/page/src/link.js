// The document's link to the server, over the official client. After each connect both sides tell each other what they lack,
// so it does not matter what was missed or written meanwhile.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';
import * as Y from 'yjs';
import { fromBase64, toBase64 } from './bytes.js';

/** What the server says comes from here: such a change is not sent back. */
const SERVER = 'server';

/** How long changes, and positions, are collected before they are sent, in milliseconds. */
const COLLECT = 60;

/** How many bytes a change has that changes nothing. */
const EMPTY = 2;

/** How long we wait after the server could not do something. */
const PAUSE = 1000;

export class Link {
    isOffline = false;
    channel = null;
    /** Whether both sides have all that the other had. Goes with the connection. */
    isSynced = false;
    /** Changes of ours that were not sent yet, and how many the server has not stored yet. */
    waiting = [];
    unsaved = 0;
    isSending = false;
    selection = null;

    /** `heard` has a callback for each thing that there is to show. */
    constructor (me, heard) {
        this.me = me;
        this.heard = heard;
    }

    /** Fills a document from the one of this name on the server, and keeps both alike. */
    open (name, doc) {
        this.doc?.destroy();
        this.name = name;
        this.doc = doc;
        [this.waiting, this.unsaved, this.selection] = [[], 0, null];
        doc.on('update', (change, origin) => { if (origin !== SERVER) this.changed(change); });
        this.tellSaved();
        if (!this.isOffline) this.connect();
    }

    setOffline (isOffline) {
        this.isOffline = isOffline;
        if (!isOffline) return this.connect();
        this.disconnect();
        this.heard.connection('offline');
        this.tellSaved();
    }

    /** Tells the others what we have selected. */
    select (selection) {
        this.selection = selection;
        this.selecting ??= setTimeout(() => { this.selecting = null; this.sendSelection(); }, COLLECT);
    }

    connect () {
        this.disconnect();
        this.heard.connection('connecting');
        const client = new PondClient(new URL('/api/socket', location.href).href, this.me, { maxReconnectDelay: 4000 });
        const channel = client.createChannel(`/documents/${this.name}`);
        [this.client, this.channel] = [client, channel];
        // What an earlier connection still says is not for this document.
        const ours = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        channel.onMessage(ours((event, payload) => this.received(event, payload)));
        channel.onUsersChange(ours((people) => this.heard.people(people, this.you)));
        channel.onChannelStateChange(ours((state) => {
            if (state === ChannelState.DECLINED) this.heard.problem('This document cannot be opened.');
        }));
        client.onConnectionChange(ours((state) => this.connectionChanged(state)));
        channel.join();
        client.connect();
    }

    disconnect () {
        const client = this.client;
        [this.client, this.channel] = [null, null];
        client?.disconnect();
        this.lost();
    }

    connectionChanged (state) {
        if (state === ConnectionState.CONNECTED) return this.heard.connection('connected');
        this.lost();
        this.heard.connection(this.you ? 'reconnecting' : 'connecting');
    }

    lost () {
        [this.isSynced, this.isSending] = [false, false];
        this.tellSaved();
    }

    received (event, payload) {
        switch (event) {
            case 'welcome': this.you = payload.you; return this.sync();
            case 'change': return payload.change && this.take(payload.change);
            case 'cursor': return payload.person && this.heard.cursor(payload.person, payload.selection);
        }
    }

    /** Asks for what we lack, and sends what the server lacks. */
    async sync () {
        const channel = this.channel;
        this.isSynced = false;
        const answer = await channel.sendForResponse('sync', { vector: toBase64(Y.encodeStateVector(this.doc)) });
        if (channel !== this.channel) return;
        if (answer.code) return this.again();
        this.heard.whenFree(() => {
            if (channel !== this.channel) return;
            Y.applyUpdate(this.doc, fromBase64(answer.change), SERVER);
            this.isSynced = true;
            this.tellSaved();
            this.heard.size(answer.size, answer.max);
            answer.cursors.forEach(({ person, selection }) => this.heard.cursor(person, selection));
            this.heard.synced();
            // Also what it has stored once, if its database was lost: what is not new it does not take twice.
            const lacking = Y.encodeStateAsUpdate(this.doc, fromBase64(answer.vector));
            this.waiting = lacking.length > EMPTY ? [lacking] : [];
            this.send();
            this.sendSelection();
        });
    }

    take (change) {
        const doc = this.doc;
        this.heard.whenFree(() => { if (doc === this.doc) Y.applyUpdate(doc, fromBase64(change), SERVER); });
    }

    changed (change) {
        this.waiting.push(change);
        this.unsaved++;
        this.tellSaved();
        this.sending ??= setTimeout(() => { this.sending = null; this.send(); }, COLLECT);
    }

    /** Sends what waits, as one change, when the one before has been stored. */
    async send () {
        if (!this.isSynced || this.isSending || !this.waiting.length) return;
        const [channel, doc, count] = [this.channel, this.doc, this.unsaved];
        const change = toBase64(Y.mergeUpdates(this.waiting));
        this.waiting = [];
        this.isSending = true;
        const answer = await channel.sendForResponse('change', { change });
        // When the connection was lost meanwhile the sync of the next one does it.
        if (channel !== this.channel || doc !== this.doc || !this.isSending) return;
        this.isSending = false;
        if (answer.code === 413) return this.heard.full(answer.details.max);
        if (answer.code) return this.again();
        this.unsaved -= count;
        this.heard.size(answer.size);
        this.tellSaved();
        this.send();
    }

    /** After something that the server could not do, or had no base for. */
    again () {
        const channel = this.channel;
        this.isSynced = false;
        setTimeout(() => { if (channel === this.channel) this.sync(); }, PAUSE);
    }

    sendSelection () {
        if (this.isSynced && this.selection) this.channel.sendMessage('cursor', { selection: this.selection });
    }

    tellSaved () {
        this.heard.saved(this.unsaved, this.isSynced);
    }
}
