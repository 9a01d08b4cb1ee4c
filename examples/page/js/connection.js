// Whether we are connected.

import { byId } from './dom.js';

const SAID = {
    connecting: 'Connecting…',
    connected: 'Connected',
    reconnecting: 'Reconnecting…',
    offline: 'Offline',
};

let last = 'connecting';

/** `state` is connecting, connected or reconnecting; the browser itself knows when it is offline. */
export function showConnection (state) {
    last = state;
    const shown = state !== 'connected' && !navigator.onLine ? 'offline' : state;
    byId('connection').dataset.state = shown;
    byId('connection').textContent = SAID[shown];
}

addEventListener('online', () => showConnection(last));
addEventListener('offline', () => showConnection(last));
