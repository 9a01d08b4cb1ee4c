// Headless Chromium: the program in `CHROMIUM`, or that of the system.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launch () {
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: QUIET });
}

/** Opens a page in a new window. Its errors and violations of its content security policy are added to `faults`. */
export async function openPage (browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1180, height: 780 }, reducedMotion: 'reduce', ...options });
    const page = await context.newPage();
    const faults = [];
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (line) => { if (line.text().includes('Content Security Policy')) faults.push(line.text()); });
    return { context, page, faults };
}

/** Returns whether a page is light, by the colour of its background. */
export function isLight (page) {
    return page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 370);
}

/** Checks that a page is dark on a dark system, and that its button changes to light and back. The system stays dark. */
export async function checkTheme (page) {
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.equal(await isLight(page), false);
    await page.click('[data-theme-toggle]');
    assert.equal(await isLight(page), true);
    await page.click('[data-theme-toggle]');
    assert.equal(await isLight(page), false);
}
