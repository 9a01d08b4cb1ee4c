// An avatar: initials in a circle whose colour follows from the name, with a dot for the status.

import { element } from './dom.js';

/** The avatar of a user with this name. */
export function avatar (name, status) {
    const node = element('span', 'avatar', initials(name));
    node.style.setProperty('--hue', hueOf(name));
    node.setAttribute('aria-hidden', 'true');
    if (status) node.dataset.status = status;
    return node;
}

function initials (name) {
    const words = name.trim().split(/\s+/).slice(0, 2);
    return words.map((word) => [...word][0].toUpperCase()).join('');
}

/** The hue of a name. It is a function of the name, so that a user has the same colour after each reconnect. */
export function hueOf (name) {
    let sum = 7;
    for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
    return sum * 47 % 360;
}
