// The name of a node, in its colour.

import { element } from '@page/dom.js';

export function chip (node) {
    const shown = element('span', 'chip', node);
    shown.dataset.node = node;
    return shown;
}
