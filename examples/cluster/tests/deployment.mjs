// Nodes without a launcher, behind the load balancer of deploy/.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { programOf } from '../../page/browser/server.mjs';
import { until } from './processes.mjs';

const example = fileURLToPath(new URL('..', import.meta.url));

/** The files that the load balancer serves. */
const PAGE = ['page/index.html', 'page/style.css', 'page/dist/app.js', '../page/base.css'];

export class Node {
    static async start (name, redis, environment = {}) {
        const node = new Node();
        const env = { ...process.env, NODE_NAME: name, REDIS: redis, ...environment };
        node.child = spawn(programOf('cluster'), ['node'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
        node.ended = once(node.child, 'exit');
        const [text] = await once(node.child.stdout, 'data');
        node.address = new URL(String(text).trim()).host;
        return node;
    }

    /** The HTTP status of a path. */
    async status (path) {
        const response = await fetch(`http://${this.address}${path}`, { headers: { Connection: 'close' } });
        await response.text();
        return response.status;
    }
}

export class Deployment {
    static async start (redis) {
        const deployment = new Deployment();
        const names = ['north', 'south'];
        const nodes = await Promise.all(names.map((name) => Node.start(name, redis)));
        deployment.nodes = new Map(names.map((name, index) => [name, nodes[index]]));
        const page = await mkdtemp(path.join(tmpdir(), 'cluster-page-'));
        for (const file of PAGE) await copyFile(path.join(example, file), path.join(page, path.basename(file)));
        deployment.url = `http://127.0.0.1:${await freePort()}`;
        const env = { ...process.env, SITE: deployment.url, NODES: nodes.map(({ address }) => address).join(' '), PAGE: page };
        const config = path.join(example, 'deploy/Caddyfile');
        deployment.proxy = spawn('caddy', ['run', '--adapter', 'caddyfile', '--config', config], { env, stdio: 'ignore' });
        await until('the load balancer serves the page', () => fetch(deployment.url).then(({ ok }) => ok, () => false));
        return deployment;
    }

    kill () {
        for (const { child } of [...this.nodes.values(), { child: this.proxy }]) child.kill('SIGKILL');
    }
}

async function freePort () {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}
