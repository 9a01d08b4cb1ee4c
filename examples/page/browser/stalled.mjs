// A client that sends requests and does not read the responses.

import net from 'node:net';
import { once } from 'node:events';

/** More responses than the buffers of two sockets hold. */
const REQUESTS = 500;

/** Connects, requests, and completes when the first response has begun. */
export async function stallResponses (url) {
    const { hostname, port, host } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    // The server resets it at its end.
    socket.on('error', () => {});
    socket.write(`GET /app.js HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(REQUESTS));
    await once(socket, 'readable');
}
