// The launcher, as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { addressOf, programOf } from '../../page/browser/server.mjs';

export class Launcher {
    /** Starts the launcher on a free port, and waits until it and its nodes are up. */
    static async start ({ stderr = 'inherit' } = {}) {
        const launcher = new Launcher();
        launcher.child = spawn(programOf('cluster'), ['--port', '0'], { stdio: ['ignore', 'pipe', stderr] });
        launcher.ended = once(launcher.child, 'exit');
        launcher.child.stdout.on('data', (text) => { launcher.redis ??= String(text).match(/redis:\/\/\S+/)?.[0]; });
        launcher.url = await addressOf(launcher.child);
        return launcher;
    }

    async nodes () {
        return (await fetch(`${this.url}/nodes`)).json();
    }

    /** Sends a signal, and returns the exit of the process: `[code, signal]`. */
    end (signal) {
        this.child.kill(signal);
        return this.ended;
    }
}
