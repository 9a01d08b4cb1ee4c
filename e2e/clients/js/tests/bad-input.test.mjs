// Frames that no client sends. Each is answered, and the connection stays usable.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { RawSocket } from '../support/raw.mjs';
import { chatRoom } from '../support/server.mjs';
import { settle } from '../support/wait.mjs';

/** A message to a channel, with some of its fields replaced (or, where undefined, left out). */
const message = (change) => JSON.stringify({
    action: 'BROADCAST', event: 'e', channelName: '/chat/c', requestId: 'bad', payload: {}, ...change,
});

for (const [what, frame] of [
    ['half an object', '{"action":'],
    ['no JSON', 'hello'],
    ['two messages in one frame', `${message()}\n${message()}`],
    ['trailing text', `${message()} x`],
    ['a number', '42'],
    ['null', 'null'],
    ['a string', '"BROADCAST"'],
    ['a list', `[${message()}]`],
    ['an empty object', '{}'],
    ['only an action', '{"action":"BROADCAST"}'],
    ['a number as action', message({ action: 5 })],
    ['no event', message({ event: undefined })],
    ['an object as event', message({ event: {} })],
    ['no channel', message({ channelName: undefined })],
    ['a list as channel', message({ channelName: ['/chat/c'] })],
    ['no request id', message({ requestId: undefined })],
    ['a number as request id', message({ requestId: 7 })],
    ['deep nesting', '['.repeat(50000)],
    ['a nested payload that ends too early', `${message().slice(0, -2)}${'{"a":'.repeat(20000)}`],
]) {
    test(`bad frame: ${what} is answered with INTERNAL_ERROR 400`, async (t) => {
        const socket = await RawSocket.open(t);
        socket.sendText(frame, { requestId: 'bad', channelName: /channel/.test(what) ? undefined : '/chat/c' });
        const [answer] = await socket.receives('INTERNAL_ERROR');
        assert.deepEqual([answer.action, answer.payload.code], ['SYSTEM', 400]);
        await socket.isUsable(chatRoom());
        assert.equal(socket.of('INTERNAL_ERROR').length, 1);
    });
}

for (const action of ['DANCE', 'broadcast', 'PRESENCE', 'SYSTEM', 'CONNECT']) {
    test(`bad frame: the action ${action} is answered with NOT_FOUND 404 under its id`, async (t) => {
        const socket = await RawSocket.open(t);
        const answer = await socket.answered(socket.send(action, 'e', '/chat/c', {}));
        assert.deepEqual([answer.action, answer.event, answer.payload.code], ['SYSTEM', 'NOT_FOUND', 404]);
        await socket.isUsable(chatRoom());
    });
}

test('bad frame: unknown fields are ignored', async (t) => {
    const room = chatRoom();
    const socket = await RawSocket.joined(t, room);
    const echo = { action: 'BROADCAST', event: 'echo', channelName: room, requestId: 'extra', payload: { n: 1 } };
    socket.sendText(JSON.stringify({ ...echo, recipients: ['x'], nodeId: 'y' }), echo);
    assert.deepEqual((await socket.answered('extra')).payload, { n: 1 });
});

// Payloads that are no objects, or unusual ones, are sent to every event of the server. Whatever the handler does with
// them, no frame may result that breaks a client. RawSocket checks that.
const PAYLOADS = [
    '5', '"text"', 'true', '[]', '[1]', 'null', '{}', '1e400', '-0', '{"a":1,"a":2}', '{"text":"\\ud800"}', '{"\\u0000":0}',
    '{"status":null}', '{"status":[]}', '{"to":7,"text":{}}', '{"key":null,"value":null}', '{"key":"","value":[]}', '{"userId":{},"reason":5}',
    '{"ms":-1}', '{"ms":"soon"}', '{"ms":1e300}', '{"presence":7,"changed":7}',
];

for (const event of ['message', 'typing', 'private', 'echo', 'status', 'untrack', 'assign', 'evict', 'state', 'fail']) {
    test(`bad payload: ${event} sends only frames that keep the rules`, async (t) => {
        const room = chatRoom();
        const [socket, other] = [await RawSocket.joined(t, room), await RawSocket.joined(t, room)];
        PAYLOADS.forEach((payload, n) => {
            const requestId = `payload-${n}`;
            const text = `{"action":"BROADCAST","event":"${event}","channelName":"${room}","requestId":"${requestId}","payload":${payload}}`;
            socket.sendText(text, { action: 'BROADCAST', channelName: room, requestId });
        });
        const last = socket.event('echo', room, { last: true });
        await socket.answered(last);
        await settle();
        assert.equal(other.closeCode, null);
        await other.answered(other.event('echo', room, { n: 1 }), 'echo');
    });
}
