// Waits with deadlines.

import { setTimeout as sleep } from 'node:timers/promises';

/** Returns the first truthy result of `probe`. Fails with `what` if there is none within `ms`. */
export async function until (what, probe, ms = 10000) {
    const deadline = Date.now() + ms;
    for (;;) {
        const answer = probe();
        if (answer) return answer;
        if (Date.now() > deadline) throw new Error(`${what}: not within ${ms} ms`);
        await sleep(5);
    }
}

/** Waits long enough for a wrongly sent message to arrive. */
export const settle = () => sleep(250);
