// The node that serves this page.

import { byId } from '@page/dom.js';
import { chip } from './chip.js';

/** Shows the node; `null` for none. */
export function showNode (name) {
    const shown = byId('connection');
    shown.dataset.state = name ? 'connected' : 'looking';
    shown.replaceChildren(...(name ? ['Served by ', chip(name)] : ['Looking for a node…']));
}
