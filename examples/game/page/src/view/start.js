// The card for those who have not dived in yet.

import { byId } from '@page/dom.js';

/** `start` gets the name. An address with `?name=Ada` asks for none. */
export function wireStart (name, start) {
    const begin = (chosen) => {
        byId('start').hidden = true;
        document.activeElement?.blur();
        start(chosen);
    };
    const asked = new URLSearchParams(location.search).get('name')?.trim().slice(0, 20);
    if (asked) return begin(asked);
    byId('start').hidden = false;
    byId('name').value = name;
    byId('name').select();
    byId('start-form').addEventListener('submit', (event) => {
        event.preventDefault();
        begin(byId('name').value.trim() || name);
    });
}
