// A TCP proxy in front of the server of an example, which can cut its connections.

import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
    #pairs = new Set();
    /** True while new connections are reset at once. */
    refuses = false;

    static async start (url) {
        const proxy = new Proxy();
        const { hostname, port } = new URL(url);
        proxy.listener = net.createServer((client) => proxy.#accept(client, net.connect(Number(port), hostname)));
        proxy.listener.listen(0, '127.0.0.1');
        await once(proxy.listener, 'listening');
        proxy.url = `http://127.0.0.1:${proxy.listener.address().port}`;
        return proxy;
    }

    #accept (...pair) {
        const [client, upstream] = pair;
        this.#pairs.add(pair);
        client.pipe(upstream).pipe(client);
        for (const end of pair) {
            end.on('error', () => { /* a close follows */ });
            end.on('close', () => { this.#pairs.delete(pair); pair.forEach((end) => end.destroy()); });
        }
        if (this.refuses) client.resetAndDestroy();
    }

    /** Resets all connections, as a failure of the network does. */
    cut () {
        for (const end of [...this.#pairs].flat()) end.resetAndDestroy();
    }

    stop () {
        this.listener.close();
        this.cut();
    }
}
