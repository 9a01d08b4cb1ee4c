// The line below the text: the state of saving, and the size of the document.

import { byId } from '@page/dom.js';

/** Shows the number of changes that are not stored yet. Without a connection they wait. */
export function showSaved (unsaved, isLinked) {
    const changes = unsaved === 1 ? '1 change' : `${unsaved} changes`;
    const [state, text] = unsaved === 0
        ? (isLinked ? ['saved', 'Saved'] : ['waiting', 'No connection'])
        : (isLinked ? ['saving', 'Saving…'] : ['waiting', `${changes} kept here until there is a connection`]);
    byId('saved').dataset.state = state;
    byId('saved').textContent = text;
}

let max = Infinity;

/** Shows the size of the whole document with its history, in bytes. */
export function showSize (size, atMost = max) {
    max = atMost;
    byId('size').textContent = `${(size / 1024).toFixed(size < 10240 ? 1 : 0)} of ${Math.round(max / 1024)} KB`;
    byId('size-bar').style.width = `${Math.min(100, 100 * size / max)}%`;
}

export function showWords (text) {
    const words = text.match(/\S+/g)?.length ?? 0;
    byId('words').textContent = words === 1 ? '1 word' : `${words} words`;
}
