// Which node serves us.

import { byId } from '@page/dom.js';
import { chip } from './chip.js';

/** `null` while none does. */
export function showNode (name) {
    const shown = byId('connection');
    shown.dataset.state = name ? 'connected' : 'looking';
    shown.replaceChildren(...(name ? ['Served by ', chip(name)] : ['Looking for a node…']));
}
