// The server of an example, as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');

/** The program of an example: that of the command line, or the release build. */
export const programOf = (example) => process.argv[2] ?? path.join(target, 'release', example);

export class Server {
    /** Starts the server and waits until it listens. Port 0 picks a free one. */
    static async start (example, args = [], port = 0) {
        const server = new Server();
        server.child = spawn(programOf(example), ['--port', String(port), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
        server.ended = once(server.child, 'exit');
        server.url = await addressOf(server.child);
        server.port = Number(new URL(server.url).port);
        return server;
    }

    /** Sends a signal, and returns the exit of the process: `[code, signal]`. */
    end (signal) {
        this.child.kill(signal);
        return this.ended;
    }
}

/** The address that a program prints when it listens. All output is read: a full pipe would block the program. */
export function addressOf (child) {
    let text = '';
    child.stdout.setEncoding('utf8');
    return new Promise((resolve, reject) => {
        child.stdout.on('data', (chunk) => {
            if (text === null) return;
            text += chunk;
            const url = text.match(/at (http:\/\/\S+)\n/)?.[1];
            if (url) {
                text = null;
                resolve(url);
            }
        });
        child.stdout.on('end', () => reject(new Error(`the program did not start: ${text}`)));
    });
}
