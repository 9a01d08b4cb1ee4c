// The chat server, as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
const program = process.argv[2] ?? process.env.CHAT_BIN ?? path.join(target, 'release', 'chat');

export const ADMIN_CODE = 'sesame';

export class Server {
    /** Starts it and waits until it listens. Port 0 picks a free one. */
    static async start (port = 0) {
        const server = new Server();
        server.child = spawn(program, ['--port', String(port), '--admin-code', ADMIN_CODE], { stdio: ['ignore', 'pipe', 'inherit'] });
        server.ended = once(server.child, 'exit');
        server.url = await server.listening();
        server.port = Number(new URL(server.url).port);
        return server;
    }

    /** The address that it prints. */
    async listening () {
        let text = '';
        this.child.stdout.setEncoding('utf8');
        for await (const chunk of this.child.stdout.iterator({ destroyOnReturn: false })) {
            text += chunk;
            const url = text.match(/at (http:\/\/\S+)\n/)?.[1];
            if (url) {
                this.child.stdout.resume();
                return url;
            }
        }
        throw new Error(`the chat did not start: ${text}`);
    }

    /** Ends it with a signal, and tells how it ended: `[code, signal]`. */
    end (signal) {
        this.child.kill(signal);
        return this.ended;
    }
}
