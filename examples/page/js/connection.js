// The state of the connection.

import { byId } from './dom.js';

const TEXTS = {
    connecting: 'Connecting…',
    connected: 'Connected',
    reconnecting: 'Reconnecting…',
    offline: 'Offline',
};

let last = 'connecting';

/** Shows the state: connecting, connected or reconnecting. `offline` is known to the browser itself. */
export function showConnection (state) {
    last = state;
    const shown = state !== 'connected' && !navigator.onLine ? 'offline' : state;
    byId('connection').dataset.state = shown;
    byId('connection').textContent = TEXTS[shown];
}

addEventListener('online', () => showConnection(last));
addEventListener('offline', () => showConnection(last));
