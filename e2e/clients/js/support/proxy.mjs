// A TCP proxy in front of the server. A test can end its connections, as networks and load balancers do.

import net from 'node:net';
import { server } from './server.mjs';

export class Proxy {
    #pairs = new Set();
    /** The address that new connections go to. */
    target;
    /** True while new connections are reset at once, as if the server were out of reach. */
    refuses = false;
    #listener = net.createServer((client) => this.#accept(client));

    /** `target` is the address of another server than the one under test. */
    static async start (t, target = server) {
        const proxy = new Proxy();
        proxy.target = target;
        await new Promise((resolve) => proxy.#listener.listen(0, '127.0.0.1', resolve));
        proxy.url = new URL(target);
        proxy.url.port = proxy.#listener.address().port;
        t.after(() => { proxy.cut(); proxy.#listener.close(); });
        return proxy;
    }

    #accept (client) {
        if (this.refuses) return client.resetAndDestroy();
        const upstream = net.connect(Number(this.target.port), this.target.hostname);
        const pair = { client, upstream };
        this.#pairs.add(pair);
        client.pipe(upstream);
        upstream.pipe(client);
        for (const end of [client, upstream]) {
            end.on('error', () => { /* a close follows */ });
            end.on('close', () => { this.#pairs.delete(pair); client.destroy(); upstream.destroy(); });
        }
    }

    /** Resets every connection on both sides, as a network failure does. */
    cut () {
        for (const { client, upstream } of this.#pairs) {
            client.resetAndDestroy();
            upstream.resetAndDestroy();
        }
    }

    /** Sends each client a close frame with 1001 (going away) in the name of the server, and ends the connection. */
    goAway () {
        for (const { client, upstream } of this.#pairs) {
            upstream.unpipe(client);
            client.end(Buffer.from([0x88, 0x02, 0x03, 0xe9]));
            upstream.resetAndDestroy();
        }
    }
}
