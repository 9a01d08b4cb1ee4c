// The connection of a document, over the official client. After each connect both sides exchange what the other lacks, so
// that missed and offline changes need no special case.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';
import * as Y from 'yjs';
import { fromBase64, toBase64 } from './bytes.js';

/** The origin of changes from the server, which are not sent back. */
const SERVER = 'server';

/** The time for which changes and positions are collected before they are sent, in milliseconds. */
const COLLECT = 60;

/** The bytes of an empty change. */
const EMPTY = 2;

/** The pause after a failure of the server, in milliseconds. */
const PAUSE = 1000;

export class Link {
    isOffline = false;
    channel = null;
    /** True if both sides have all changes of the other. Reset with the connection. */
    isSynced = false;
    /** Changes that were not sent yet, and the number that the server has not stored yet. */
    waiting = [];
    unsaved = 0;
    isSending = false;
    selection = null;

    /** `on` has a callback for each event that the page shows. */
    constructor (me, on) {
        this.me = me;
        this.on = on;
    }

    /** Opens the document of this name on the server, and keeps both copies equal. */
    open (name, doc) {
        this.doc?.destroy();
        this.name = name;
        this.doc = doc;
        [this.waiting, this.unsaved, this.selection] = [[], 0, null];
        doc.on('update', (change, origin) => { if (origin !== SERVER) this.changed(change); });
        this.reportSaved();
        if (!this.isOffline) this.connect();
    }

    setOffline (isOffline) {
        this.isOffline = isOffline;
        if (!isOffline) return this.connect();
        this.disconnect();
        this.on.connection('offline');
        this.reportSaved();
    }

    /** Sends the selection to other users. */
    select (selection) {
        this.selection = selection;
        this.selecting ??= setTimeout(() => { this.selecting = null; this.sendSelection(); }, COLLECT);
    }

    connect () {
        this.disconnect();
        this.on.connection('connecting');
        const client = new PondClient(new URL('/api/socket', location.href).href, this.me, { maxReconnectDelay: 4000 });
        const channel = client.createChannel(`/documents/${this.name}`);
        [this.client, this.channel] = [client, channel];
        // Late messages of an earlier connection must not change this document.
        const ours = (handle) => (...args) => { if (this.channel === channel) handle(...args); };
        channel.onMessage(ours((event, payload) => this.received(event, payload)));
        channel.onUsersChange(ours((people) => this.on.people(people, this.you)));
        channel.onChannelStateChange(ours((state) => {
            if (state === ChannelState.DECLINED) this.on.problem('This document cannot be opened.');
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
        if (state === ConnectionState.CONNECTED) return this.on.connection('connected');
        this.lost();
        this.on.connection(this.you ? 'reconnecting' : 'connecting');
    }

    lost () {
        [this.isSynced, this.isSending] = [false, false];
        this.reportSaved();
    }

    received (event, payload) {
        switch (event) {
            case 'welcome': this.you = payload.you; return this.sync();
            case 'change': return payload.change && this.take(payload.change);
            case 'cursor': return payload.person && this.on.cursor(payload.person, payload.selection);
        }
    }

    /** Requests missing changes, and sends those that the server lacks. */
    async sync () {
        const channel = this.channel;
        this.isSynced = false;
        const answer = await channel.sendForResponse('sync', { vector: toBase64(Y.encodeStateVector(this.doc)) });
        if (channel !== this.channel) return;
        if (answer.code) return this.again();
        this.on.whenFree(() => {
            if (channel !== this.channel) return;
            Y.applyUpdate(this.doc, fromBase64(answer.change), SERVER);
            this.isSynced = true;
            this.reportSaved();
            this.on.size(answer.size, answer.max);
            answer.cursors.forEach(({ person, selection }) => this.on.cursor(person, selection));
            this.on.synced();
            // Also changes that it had stored, in case its database was lost. Known changes have no effect.
            const lacking = Y.encodeStateAsUpdate(this.doc, fromBase64(answer.vector));
            this.waiting = lacking.length > EMPTY ? [lacking] : [];
            this.send();
            this.sendSelection();
        });
    }

    take (change) {
        const doc = this.doc;
        this.on.whenFree(() => { if (doc === this.doc) Y.applyUpdate(doc, fromBase64(change), SERVER); });
    }

    changed (change) {
        this.waiting.push(change);
        this.unsaved++;
        this.reportSaved();
        this.sending ??= setTimeout(() => { this.sending = null; this.send(); }, COLLECT);
    }

    /** Sends the collected changes as one, after the previous one was stored. */
    async send () {
        if (!this.isSynced || this.isSending || !this.waiting.length) return;
        const [channel, doc, count] = [this.channel, this.doc, this.unsaved];
        const change = toBase64(Y.mergeUpdates(this.waiting));
        this.waiting = [];
        this.isSending = true;
        const answer = await channel.sendForResponse('change', { change });
        // After a lost connection, the sync of the next one sends them.
        if (channel !== this.channel || doc !== this.doc || !this.isSending) return;
        this.isSending = false;
        if (answer.code === 413) return this.on.full(answer.details.max);
        if (answer.code) return this.again();
        this.unsaved -= count;
        this.on.size(answer.size);
        this.reportSaved();
        this.send();
    }

    /** Syncs again after a failure, or a change without its base on the server. */
    again () {
        const channel = this.channel;
        this.isSynced = false;
        setTimeout(() => { if (channel === this.channel) this.sync(); }, PAUSE);
    }

    sendSelection () {
        if (this.isSynced && this.selection) this.channel.sendMessage('cursor', { selection: this.selection });
    }

    reportSaved () {
        this.on.saved(this.unsaved, this.isSynced);
    }
}
