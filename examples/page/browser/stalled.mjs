// A client that sends requests and does not read the responses.

import net from 'node:net';
import { once } from 'node:events';

/** The number of requests whose responses exceed the buffers of both sockets. */
const REQUESTS = 500;

/** Connects and sends the requests. Completes when the first response begins. */
export async function stallResponses (url) {
    const { hostname, port, host } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    // The server resets this connection when it ends.
    socket.on('error', () => {});
    socket.write(`GET /app.js HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(REQUESTS));
    await once(socket, 'readable');
}
