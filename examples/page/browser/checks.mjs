// The runner of an example's test. It prints one line for each check, then "N passed, M failed, K skipped".

import { folder } from './pictures.mjs';

const DEADLINE = 300_000;

/** Runs checks `[name, async function]` one after the other, also after a failure, and then `end`. */
export async function run (checks, end) {
    const overdue = setTimeout(async () => {
        console.log('FAIL the test has exceeded its deadline');
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
