// One user of the published client: a connection, a channel, and a record of the reports of the channel.

import { PondClient } from '@eleven-am/pondsocket-client';
import { chatRoom, server } from './server.mjs';
import { until } from './wait.mjs';

export class Peer {
    /** A peer that has not connected yet. It disconnects when the test `t` ends. */
    constructor (t, name, { Client = PondClient, url = server, query = { token: 't' }, options } = {}) {
        this.name = name;
        this.errors = [];
        this.connectionStates = [];
        this.client = new Client(url.toString(), query, options);
        this.client.onError((error) => this.errors.push(error));
        this.client.onConnectionChange((state) => this.connectionStates.push(state));
        t.after(() => this.client.disconnect());
    }

    static async connected (t, name, options) {
        const peer = new Peer(t, name, options);
        peer.client.connect();
        await until(`${name} connects`, () => peer.isConnected());
        return peer;
    }

    static async joined (t, name, room, options) {
        const peer = await Peer.connected(t, name, options);
        await peer.join(room);
        return peer;
    }

    isConnected () { return this.client.getState() === 'connected'; }

    /** The number of times that this peer has become connected. */
    connections () { return this.connectionStates.filter((state) => state === 'connected').length; }

    /** Makes `room` the channel of this peer, without joining it. */
    choose (room, params = { username: this.name }) {
        const channel = this.client.createChannel(room, params);
        this.channel = channel;
        this.states = [];
        this.messages = [];
        this.joins = [];
        this.leaves = [];
        this.updates = [];
        channel.onChannelStateChange((state) => this.states.push(state));
        channel.onMessage((event, payload) => this.messages.push({ event, payload }));
        channel.onJoin((presence) => this.joins.push(presence));
        channel.onLeave((presence) => this.leaves.push(presence));
        channel.onPresenceChange((change) => this.updates.push(change));
        return channel;
    }

    async join (room) {
        this.choose(room).join();
        await this.reaches('JOINED');
    }

    reaches (state) { return until(`${this.name} is ${state}`, () => this.channel.channelState === state); }

    send (event, payload) { this.channel.sendMessage(event, payload); }

    /** The reply to a request. The client itself has no timeout. */
    ask (event, payload, ms = 10000) {
        const late = new Promise((_, fail) => {
            setTimeout(() => fail(new Error(`no reply to ${event} within ${ms} ms`)), ms).unref();
        });
        return Promise.race([this.channel.sendForResponse(event, payload), late]);
    }

    /** The server's view of this peer's room: `{self, presence, assigns}`. */
    state () { return this.ask('state', {}); }

    /** The payloads received under one event name. */
    received (event) { return this.messages.filter((message) => message.event === event).map((message) => message.payload); }

    receives (event, count = 1) {
        return until(`${this.name} receives ${count} ${event}`, () => this.received(event).length >= count);
    }

    /** The user names in the client's presence list, sorted. */
    present () { return this.channel.presence.map((presence) => presence.username).sort(); }

    sees (...names) {
        const expected = names.sort().join();
        return until(`${this.name} sees ${expected}`, () => this.present().join() === expected);
    }
}

/** Peers in a new room, each of which has received the presence of all others. */
export async function joinedPeers (t, ...names) {
    const room = chatRoom();
    const peers = [];
    for (const name of names) peers.push(await Peer.joined(t, name, room));
    await Promise.all(peers.map((peer) => peer.sees(...names)));
    return peers;
}
