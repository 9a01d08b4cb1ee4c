// Pictures of a page, light and dark, on a desk and on a phone, for people to look at.

import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const SIZES = { desk: { width: 1180, height: 780 }, phone: { width: 390, height: 800 } };

export const folder = process.env.SCREENSHOTS ?? await mkdtemp(path.join(tmpdir(), 'pictures-'));
await mkdir(folder, { recursive: true });

/** Takes a page's picture in every form; `name` is what it shows. */
export async function picture (page, name) {
    const usual = page.viewportSize();
    for (const [size, viewport] of Object.entries(SIZES)) {
        await page.setViewportSize(viewport);
        for (const colorScheme of ['light', 'dark']) {
            await page.emulateMedia({ colorScheme });
            await page.screenshot({ path: path.join(folder, `${name}-${size}-${colorScheme}.png`) });
        }
    }
    await page.setViewportSize(usual);
    await page.emulateMedia({ colorScheme: null });
}
