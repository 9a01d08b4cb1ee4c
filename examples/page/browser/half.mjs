// A client that begins a request and never sends its end.

import net from 'node:net';
import { once } from 'node:events';

/** Connects and sends the first line of a request. */
export async function sendHalfARequest (url) {
    const { hostname, port } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    // The server resets it at its end.
    socket.on('error', () => {});
    await once(socket, 'connect');
    await new Promise((resolve) => socket.write('GET / HTTP/1.1\r\n', resolve));
}
