// A Redis for one test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';

/** Starts a Redis that keeps nothing, and returns its URL. */
export async function startRedis (t) {
    const listener = net.createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address();
    listener.close();
    await once(listener, 'close');
    const settings = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    const redis = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => redis.kill('SIGKILL'));
    for await (const line of createInterface(redis.stdout)) {
        if (line.includes('Ready to accept connections')) return `redis://127.0.0.1:${port}`;
    }
    throw new Error('the Redis has ended');
}
