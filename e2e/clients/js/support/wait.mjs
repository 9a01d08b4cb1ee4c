// Waiting, always with an end.

import { setTimeout as sleep } from 'node:timers/promises';

/** The first truthy answer of `probe`. Fails, saying `what` was awaited, when there is none within `ms`. */
export async function until (what, probe, ms = 10000) {
    const deadline = Date.now() + ms;
    for (;;) {
        const answer = probe();
        if (answer) return answer;
        if (Date.now() > deadline) throw new Error(`${what}: not within ${ms} ms`);
        await sleep(5);
    }
}

/** Long enough for anything that was wrongly sent to have arrived. */
export const settle = () => sleep(250);
