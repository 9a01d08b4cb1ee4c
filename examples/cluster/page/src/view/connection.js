// Which node serves us.

import { byId, chip } from './dom.js';

/** `null` while none does. */
export function showNode (name) {
    const shown = byId('connection');
    shown.dataset.state = name ? 'connected' : 'looking';
    shown.replaceChildren(...(name ? ['Served by ', chip(name)] : ['Looking for a node…']));
}
