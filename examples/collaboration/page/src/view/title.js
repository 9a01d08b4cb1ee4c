// The name of the document. It is part of the address, so that links and the history of the browser work.

import { byId } from '@page/dom.js';

const FIRST = 'notes';

/** The document in the address. */
export function chosenDocument () {
    return nameOf(decodeURIComponent(location.hash.slice(1))) || FIRST;
}

/** Shows the name in a field, in which another name opens another document. */
export function wireTitle () {
    const name = chosenDocument();
    byId('name').value = name;
    document.title = `${name} – Pond documents`;
    const open = () => {
        const wanted = nameOf(byId('name').value);
        byId('name').value = wanted || name;
        if (wanted && wanted !== name) location.hash = wanted;
    };
    byId('name').onchange = open;
    byId('open').onsubmit = (event) => { event.preventDefault(); byId('name').blur(); };
}

/** A name has small letters, digits and dashes; empty if nothing is left. */
function nameOf (text) {
    return text.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 32).replace(/^-+|-+$/g, '');
}
