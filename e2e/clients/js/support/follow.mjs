// Follows rooms with published clients, and prints what each of them receives, one JSON object in a line. The clients are one JSON
// array on the standard input:
//
//   [{"name": "ada", "url": "ws://127.0.0.1:8080/api/socket", "room": "/history/1", "session": "", "resumes": true}, ...]
//
// One that resumes uses resume.js; others only have their session. One with an HTTP URL uses an event stream.

import { text } from 'node:stream/consumers';
import { EventSource } from 'eventsource';
import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';
import { Resume } from '../../../../examples/page/js/resume.js';

globalThis.EventSource ??= EventSource;

// One write for all that has come at once.
let lines = '';
function print (line) {
    if (!lines) setImmediate(() => { process.stdout.write(lines); lines = ''; });
    lines += `${JSON.stringify(line)}\n`;
}

for (const { name, url, room, session, resumes } of JSON.parse(await text(process.stdin))) {
    const report = (line) => print({ client: name, ...line });
    const Client = url.startsWith('ws') ? PondClient : SSEClient;
    const client = new Client(url, session ? { token: 't', session } : { token: 't' });
    const resume = new Resume({ username: name }, { onGap: (gap) => report({ gap, position: resume.params.$resume }) });
    const receive = (event, payload) => {
        if (payload.n) report({ n: payload.n, position: payload._pos });
        else if (event === 'ACKNOWLEDGE' && resumes) report({ position: payload.position });
        else if (event === 'history' && !resumes) report(payload);
    };
    const channel = client.createChannel(room, resumes ? resume.params : { username: name });
    channel.onMessage(resumes ? resume.messages(receive) : receive);
    channel.onChannelStateChange((state) => { if (state === 'STALLED') report({ lost: true }); });
    channel.onJoin(({ username }) => report({ presence: 'JOIN', who: username }));
    channel.onLeave(({ username }) => report({ presence: 'LEAVE', who: username }));
    channel.join();
    client.connect();
}
