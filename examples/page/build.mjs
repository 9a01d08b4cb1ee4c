// Bundles the pages of the examples: each src/main.js becomes, with its imports, one dist/app.js. It is committed, so that
// an example runs without Node. The licences of bundled packages are copied beside it.
//
//   node build.mjs [EXAMPLE...]              all examples that have a page, or only these
//   node build.mjs --check [EXAMPLE...]      changes nothing; fails if a dist differs from the bundle of its sources

import { access, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const examples = path.join(here, '..');
const words = process.argv.slice(2);
const isCheck = words.includes('--check');

/** The packages whose licence has to be copied, with the name of the copy. */
const PACKAGES = {
    '@eleven-am/pondsocket-client': 'pondsocket-client.LICENSE',
    yjs: 'yjs.LICENSE',
    lib0: 'lib0.LICENSE',
};

const chosen = words.filter((word) => word !== '--check');
for (const example of chosen.length ? chosen : await withPages()) await bundle(example);

/** The examples that have a page. */
async function withPages () {
    const folders = await readdir(examples);
    const found = await Promise.all(folders.map((folder) => exists(path.join(examples, folder, 'page/src/main.js'))));
    return folders.filter((_, number) => found[number]);
}

async function bundle (example) {
    const page = path.join(examples, example, 'page');
    const { outputFiles, metafile } = await build({
        absWorkingDir: examples,
        entryPoints: [path.join(page, 'src/main.js')],
        bundle: true,
        write: false,
        metafile: true,
        format: 'esm',
        target: 'es2022',
        legalComments: 'none',
        alias: { '@page': path.join(here, 'js'), websocket: path.join(here, 'js/not-in-a-page.js') },
        nodePaths: [path.join(here, 'node_modules')],
    });
    await put(path.join(page, 'dist/app.js'), outputFiles[0].text);
    const inputs = Object.keys(metafile.inputs);
    for (const [name, file] of Object.entries(PACKAGES)) {
        if (!inputs.some((input) => input.includes(`node_modules/${name}/`))) continue;
        await put(path.join(page, 'dist', file), await readFile(path.join(here, 'node_modules', name, 'LICENSE'), 'utf8'));
    }
}

/** Writes a file, or with `--check` compares it. */
async function put (file, text) {
    const name = path.relative(examples, file);
    if (!isCheck) {
        await mkdir(path.dirname(file), { recursive: true });
        await writeFile(file, text);
        console.log(`${name}: ${Math.round(text.length / 1024)} KB`);
    } else if (await readFile(file, 'utf8').catch(() => '') !== text) {
        console.log(`${name} differs from the bundle of its sources: run node build.mjs`);
        process.exitCode = 1;
    }
}

async function exists (file) {
    return access(file).then(() => true, () => false);
}
