// The chat server, as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
const program = process.env.CHAT_BIN ?? path.join(target, 'release', 'chat');

export class Server {
    /** Starts it and waits until it listens. Port 0 picks a free one. */
    static async start (port = 0) {
        const server = new Server();
        server.child = spawn(program, ['--port', String(port), '--admin-code', 'sesame'], { stdio: ['ignore', 'pipe', 'ignore'] });
        let text = '';
        for await (const chunk of server.child.stdout) {
            text += chunk;
            const url = text.match(/http:\/\/\S+/)?.[0];
            if (url) {
                server.url = url;
                server.port = Number(new URL(url).port);
                server.child.stdout.resume();
                return server;
            }
        }
        throw new Error(`the chat did not start: ${text}`);
    }

    /** Ends it without a goodbye. */
    async kill () {
        this.child.kill('SIGKILL');
        if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
    }
}
