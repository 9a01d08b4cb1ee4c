// Follows a room with published clients that use resume.js, and prints what each of them receives, one JSON object in a line:
//
//   node follow.mjs ROOM '[{"name": "ada", "url": "ws://127.0.0.1:8080/api/socket"}, ...]'
//
// A client with an HTTP URL uses an event stream.

import { EventSource } from 'eventsource';
import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';
import { Resume } from '../../../../examples/page/js/resume.js';

globalThis.EventSource ??= EventSource;

const [room, clients] = process.argv.slice(2);

for (const { name, url } of JSON.parse(clients)) {
    const print = (line) => console.log(JSON.stringify({ client: name, ...line }));
    const Client = url.startsWith('ws') ? PondClient : SSEClient;
    const client = new Client(url, { token: 't' });
    const resume = new Resume({ username: name }, { onGap: (gap) => print({ gap, position: resume.params.$resume }) });
    const channel = client.createChannel(room, resume.params);
    channel.onMessage(resume.messages((event, payload) => {
        if (payload.n) print({ n: payload.n, position: payload._pos });
        else if (event === 'ACKNOWLEDGE') print({ position: payload.position });
    }));
    channel.join();
    client.connect();
}
