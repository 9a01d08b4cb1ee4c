// A WebSocket handshake without a browser.

import http from 'node:http';

/** The HTTP status of the answer to a WebSocket handshake. */
export function handshake (url, more = {}) {
    const headers = { ...more, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    return new Promise((resolve, reject) => {
        const request = http.get(url, { headers, timeout: 10_000 }, (response) => { response.resume(); resolve(response.statusCode); });
        request.on('upgrade', (response, socket) => { socket.destroy(); resolve(response.statusCode); });
        request.on('timeout', () => request.destroy(new Error('no answer')));
        request.on('error', reject);
    });
}
