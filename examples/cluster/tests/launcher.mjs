// The launcher, as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
const program = process.argv[2] ?? process.env.CLUSTER_BIN ?? path.join(target, 'release', 'cluster');

export class Launcher {
    /** Starts it, on a free port, and waits until it and its nodes are up. */
    static async start ({ stderr = 'inherit' } = {}) {
        const launcher = new Launcher();
        launcher.child = spawn(program, ['--port', '0'], { stdio: ['ignore', 'pipe', stderr] });
        launcher.ended = once(launcher.child, 'exit');
        launcher.url = await launcher.listening();
        return launcher;
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
        throw new Error(`the cluster did not start: ${text}`);
    }

    async nodes () {
        return (await fetch(`${this.url}/nodes`)).json();
    }

    /** Ends it with a signal, and tells how it ended: `[code, signal]`. */
    end (signal) {
        this.child.kill(signal);
        return this.ended;
    }
}
