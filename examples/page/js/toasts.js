// Short notes about errors.

import { byId, element, iconButton } from './dom.js';

const SHOWN_FOR = 6000;
const AT_ONCE = 3;

export function toast (text) {
    for (const note of [...byId('toasts').children]) if (note.dataset.text === text) note.remove();
    const note = element('div', 'toast', element('p', '', text), iconButton('close', 'Dismiss', () => note.remove()));
    note.dataset.text = text;
    byId('toasts').append(note);
    while (byId('toasts').childElementCount > AT_ONCE) byId('toasts').firstElementChild.remove();
    setTimeout(() => note.remove(), SHOWN_FOR);
}
