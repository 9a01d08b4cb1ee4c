// A contract server for one test, which can restart it at the same port.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { server } from './server.mjs';

const program = process.env.CONTRACT_BIN;

export class ContractServer {
    #process;
    #settings;

    /** `settings` are added to the environment of the server. */
    static async start (t, settings = {}) {
        if (!program) throw new Error('CONTRACT_BIN is not set: it names the contract server');
        const contract = new ContractServer();
        contract.#settings = settings;
        t.after(() => contract.#process.kill('SIGKILL'));
        const port = await contract.#listen(0);
        contract.url = new URL(server);
        contract.url.port = port;
        return contract;
    }

    /** Stops the server with SIGTERM, and starts another one at the same port. */
    async restart () {
        await this.end('SIGTERM');
        await this.#listen(this.url.port);
    }

    /** Ends the server with a signal. */
    async end (signal) {
        this.#process.kill(signal);
        await once(this.#process, 'exit');
    }

    async #listen (port) {
        this.#process = spawn(program, { env: { ...process.env, ...this.#settings, PORT: port }, stdio: ['ignore', 'pipe', 'ignore'] });
        for await (const line of createInterface(this.#process.stdout)) {
            const [, listening] = line.match(/^listening (\d+)$/) ?? [];
            if (listening) return listening;
        }
        throw new Error('the contract server has ended');
    }
}
