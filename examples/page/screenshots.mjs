// The pictures of examples/README.md: screenshots of the browser tests, smaller and as WebP.
//
//   node screenshots.mjs [EXAMPLE...]        all examples that have a page, or only these. They must have been built with --release
//
// SCREENSHOTS: a folder with a folder EXAMPLE of existing screenshots for each example

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch } from './browser/chromium.mjs';

const examples = fileURLToPath(new URL('..', import.meta.url));
const pictures = path.join(examples, 'pictures');

/** The picture of each example, by its name in the test. */
const SHOWN = { auth: 'no-entry', chat: 'chat', cluster: 'cluster', collaboration: 'document', game: 'game', 'rate-limit': 'limits' };

const WIDTH = 800;
const QUALITY = 0.8;

await mkdir(pictures, { recursive: true });
const words = process.argv.slice(2);
for (const example of words.length ? words : Object.keys(SHOWN)) {
    const folder = await take(example);
    for (const scheme of ['light', 'dark']) {
        const picture = await shrink(path.join(folder, `${SHOWN[example]}-desk-${scheme}.png`));
        await writeFile(path.join(pictures, `${example}-${scheme}.webp`), picture);
        console.log(`${example}-${scheme}.webp: ${Math.round(picture.length / 1024)} KB`);
    }
}

/** Runs the test of an example, and returns the folder with its pictures. */
async function take (example) {
    if (process.env.SCREENSHOTS) return path.join(process.env.SCREENSHOTS, example);
    const folder = await mkdtemp(path.join(tmpdir(), 'pictures-'));
    const test = spawn(process.execPath, [path.join(examples, example, 'tests/browser.mjs')], { env: { ...process.env, SCREENSHOTS: folder }, stdio: 'inherit' });
    const [code] = await once(test, 'exit');
    if (code) throw new Error(`the test of ${example} has failed`);
    return folder;
}

/** Scales a picture down in Chromium, and encodes it as WebP. */
async function shrink (file) {
    const browser = await launch();
    const page = await browser.newPage();
    const encoded = await page.evaluate(async ({ source, width, quality }) => {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = new OffscreenCanvas(width, Math.round(width * image.height / image.width));
        const context = canvas.getContext('2d');
        context.imageSmoothingQuality = 'high';
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/webp', quality })).arrayBuffer());
        return bytes.reduce((text, byte) => text + String.fromCharCode(byte), '');
    }, { source: `data:image/png;base64,${await readFile(file, 'base64')}`, width: WIDTH, quality: QUALITY });
    await browser.close();
    return Buffer.from(encoded, 'latin1');
}
