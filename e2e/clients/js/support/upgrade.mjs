// The HTTP side of a connection: the answers of the server to requests before there is a WebSocket.

import http from 'node:http';
import { server } from './server.mjs';

export const UPGRADE = {
    'Connection': 'Upgrade',
    'Upgrade': 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** The answer to a GET: `{status, headers, body}`; status 101 when the connection was upgraded (and then dropped). */
export function get (path, headers = UPGRADE) {
    return new Promise((resolve, reject) => {
        const request = http.get({ host: server.hostname, port: server.port, path, headers, timeout: 10000 });
        request.on('upgrade', (response, socket) => {
            socket.destroy();
            resolve({ status: 101, headers: response.headers, body: '' });
        });
        request.on('response', async (response) => {
            let body = '';
            for await (const chunk of response) body += chunk;
            resolve({ status: response.statusCode, headers: response.headers, body });
        });
        request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
        request.on('error', reject);
    });
}
