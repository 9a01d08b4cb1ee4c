// Screenshots of a page in light and dark, at the sizes of a desktop and a phone, for review by people.

import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const SIZES = { desk: { width: 1180, height: 780 }, phone: { width: 390, height: 800 } };

export const folder = process.env.SCREENSHOTS ?? await mkdtemp(path.join(tmpdir(), 'pictures-'));
await mkdir(folder, { recursive: true });

/** Takes screenshots of a page in every size and theme. `name` begins their file names. */
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
