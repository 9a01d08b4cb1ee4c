// The processes of this machine.

import { readdir, readFile } from 'node:fs/promises';

/** Waits until `holds` returns a true value, and returns that value. */
export async function until (what, holds, deadline = 10_000) {
    const end = Date.now() + deadline;
    for (;;) {
        const found = await holds();
        if (found) return found;
        if (Date.now() > end) throw new Error(`not in time: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

/** The ids of the descendants of a process. */
export async function descendants (pid) {
    const all = await parents();
    const found = [pid];
    for (const each of found) for (const [child, parent] of all) if (parent === each) found.push(child);
    return found.slice(1);
}

export function isAlive (pid) {
    try {
        process.kill(pid, 0);
        return true;
    } catch {
        return false;
    }
}

/** `[pid, parent]` of all processes. */
async function parents () {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)));
    // The name before the parent may contain anything, brackets included.
    return stats.filter(Boolean).map((stat) => [parseInt(stat), parseInt(stat.slice(stat.lastIndexOf(')') + 4))]);
}
