// How the browser test of an example runs: one line a check, then "N passed, M failed, K skipped".

import { folder } from './pictures.mjs';

const DEADLINE = 300_000;

/** Runs checks `[name, async function]` one after the other, also after one that has failed; then `end`. */
export async function run (checks, end) {
    const overdue = setTimeout(async () => {
        console.log('FAIL the test takes too long');
        await end();
        process.exit(1);
    }, DEADLINE);
    let [passed, failed] = [0, 0];
    for (const [name, check] of checks) {
        const since = Date.now();
        try {
            await check();
            passed++;
            console.log(`ok   ${name} (${Date.now() - since} ms)`);
        } catch (error) {
            failed++;
            console.log(`FAIL ${name}: ${error.stack}`);
        }
    }
    clearTimeout(overdue);
    await end();
    console.log(`pictures in ${folder}`);
    console.log(`${passed} passed, ${failed} failed, 0 skipped`);
    process.exitCode = failed ? 1 : 0;
}
