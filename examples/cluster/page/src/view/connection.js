// The node that serves this page, and the messages that have come from all of them.

import { byId } from '@page/dom.js';
import { chip } from './chip.js';

/** Shows the node; `null` for none. */
export function showNode (name) {
    const shown = byId('connection');
    shown.dataset.state = name ? 'connected' : 'looking';
    shown.replaceChildren(...(name ? ['Served by ', chip(name)] : ['Looking for a node…']));
}

/** Shows the number of messages. */
export function showTally ({ received, missing, repeated }) {
    const shown = byId('tally');
    Object.assign(shown.dataset, { received, missing, repeated });
    shown.textContent = `${received} received, ${missing || 'nothing'} missing, ${repeated || 'nothing'} twice`;
}
