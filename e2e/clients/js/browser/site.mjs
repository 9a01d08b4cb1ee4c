// A static site on localhost: one page, and the published client bundled for browsers as in a web project.

import http from 'node:http';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Serves the site and returns the address of its page. It is closed when the test `t` ends. Port 0 picks a free one. */
export async function serveSite (t, port = 0) {
    const bundle = await build({ entryPoints: [here('client.mjs')], bundle: true, platform: 'browser', write: false });
    const files = {
        '/': ['text/html', await readFile(here('page.html'))],
        '/client.js': ['text/javascript', bundle.outputFiles[0].contents],
        '/favicon.ico': ['image/x-icon', ''],
    };
    const site = http.createServer((request, response) => {
        const [type, content] = files[request.url] ?? [];
        response.writeHead(type ? 200 : 404, { 'Content-Type': type ?? 'text/plain' });
        response.end(content);
    });
    await new Promise((resolve) => site.listen(port, 'localhost', resolve));
    t.after(() => { site.close(); site.closeAllConnections(); });
    return `http://localhost:${site.address().port}/`;
}
