// Chromium without a window: `CHROMIUM`, or the one that the system has.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launch () {
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: QUIET });
}

/** A page in a window of its own. What it throws, and what its policy forbids it, is put into `faults`. */
export async function openPage (browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1180, height: 780 }, reducedMotion: 'reduce', ...options });
    const page = await context.newPage();
    const faults = [];
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (line) => { if (line.text().includes('Content Security Policy')) faults.push(line.text()); });
    return { context, page, faults };
}

/** Whether a page is light now, by the colour of its ground. */
export function isLight (page) {
    return page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 370);
}

/** Fails unless the page is dark with a dark system, and its button chooses light and dark again. The system stays dark. */
export async function checkTheme (page) {
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.equal(await isLight(page), false);
    await page.click('[data-theme-toggle]');
    assert.equal(await isLight(page), true);
    await page.click('[data-theme-toggle]');
    assert.equal(await isLight(page), false);
}
