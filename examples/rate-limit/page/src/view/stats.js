// The counters of the server.

import { byId } from '@page/dom.js';

const time = (us) => (us < 1000 ? `${us} µs` : `${(us / 1000).toFixed(us < 10_000 ? 1 : 0)} ms`);

export function showStats (stats) {
    for (const name of ['done', 'refused', 'failed', 'incidents', 'closed']) byId(name).textContent = stats[name];
    byId('median').textContent = stats.medianUs ? time(stats.medianUs) : '–';
    byId('p99').textContent = stats.p99Us ? time(stats.p99Us) : '–';
}
