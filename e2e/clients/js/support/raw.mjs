// A plain WebSocket, for messages that the published client never sends and frames that it does not show. Every received
// frame is checked against the rules; a test with a violation fails when it ends.

import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { Conversation } from './conversation.mjs';
import { readFrame } from './frame-rules.mjs';
import { server } from './server.mjs';
import { until } from './wait.mjs';

export class RawSocket {
    #conversation = new Conversation();
    #violations = [];
    #requests = 0;

    /** Resolves when the upgrade is done, which may be before CONNECTION has arrived. */
    static async open (t, { url = server, query = 'token=t', ...options } = {}) {
        const socket = new RawSocket(t, new WebSocket(`ws://${url.host}${url.pathname}?${query}`, options));
        await new Promise((resolve, reject) => {
            socket.ws.once('open', resolve);
            socket.ws.once('error', reject);
        });
        return socket;
    }

    static async joined (t, room, username = 'raw') {
        const socket = await RawSocket.open(t);
        await socket.answered(socket.join(room, { username }), 'ACKNOWLEDGE');
        return socket;
    }

    constructor (t, ws) {
        this.ws = ws;
        this.frames = [];
        this.closeCode = null;
        ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
        ws.on('close', (code) => { this.closeCode = code; });
        ws.on('error', () => { /* a close follows, which tests check */ });
        t.after(() => {
            ws.terminate();
            assert.deepEqual(this.#violations.slice(0, 5), [], 'frames that break the rules');
        });
    }

    #receive (data, isBinary) {
        try {
            const message = readFrame(data, isBinary);
            this.frames.push(message);
            this.#conversation.received(message);
        } catch (violation) {
            this.#violations.push(violation.message);
        }
    }

    /** Sends one message and returns its request id. */
    send (action, event, channelName, payload) {
        const message = { action, event, channelName, requestId: `request-${++this.#requests}`, payload };
        this.#conversation.sent(message);
        this.ws.send(JSON.stringify(message));
        return message.requestId;
    }

    join (room, params) { return this.send('JOIN_CHANNEL', 'JOIN_CHANNEL', room, params); }
    leave (room) { return this.send('LEAVE_CHANNEL', 'LEAVE_CHANNEL', room, {}); }
    event (event, room, payload) { return this.send('BROADCAST', event, room, payload); }

    /** Sends text unchanged. `message` is its content, if its answers are to be matched with it. */
    sendText (text, message) {
        if (message) this.#conversation.sent(message);
        this.ws.send(text);
    }

    /** The frames received under one event name. */
    of (event) { return this.frames.filter((frame) => frame.event === event); }

    receives (event, count = 1) {
        return until(`${count} ${event}`, () => this.of(event).length >= count && this.of(event));
    }

    /** The answer to a request: the first frame with its id and, if one is named, its event. */
    answered (requestId, event) {
        const isAnswer = (frame) => frame.requestId === requestId && (!event || frame.event === event);
        return until(`the answer ${event ?? ''} to ${requestId}`, () => this.frames.find(isAnswer));
    }

    /** The code with which the server closed the connection. */
    closed () { return until('the close', () => this.closeCode); }

    /** Fails unless the connection can join a room and is answered there. */
    async isUsable (room) {
        await this.answered(this.join(room, { username: 'raw' }), 'ACKNOWLEDGE');
        const { payload } = await this.answered(this.event('echo', room, { still: 'here' }), 'echo');
        assert.deepEqual(payload, { still: 'here' });
    }
}
