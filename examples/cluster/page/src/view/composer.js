// Where messages are written.

import { byId } from '@page/dom.js';

export function wireComposer (say) {
    byId('composer').addEventListener('submit', (event) => {
        event.preventDefault();
        const text = byId('text').value.trim();
        if (text) say(text);
        byId('text').value = '';
        byId('text').focus();
    });
    // Not on a phone, where it opens the keyboard.
    if (matchMedia('(pointer: fine)').matches) byId('text').focus();
}
