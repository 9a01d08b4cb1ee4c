// Initials in a circle, in a colour that somebody keeps, with a dot for the status.

import { element } from './dom.js';

export function avatar (user, status) {
    const node = element('span', 'avatar', initials(user.username));
    node.style.setProperty('--hue', hue(user.username));
    node.setAttribute('aria-hidden', 'true');
    if (status) node.dataset.status = status;
    return node;
}

function initials (name) {
    const words = name.trim().split(/\s+/).slice(0, 2);
    return words.map((word) => [...word][0].toUpperCase()).join('');
}

/** By the name: it stays the same when somebody signs in again. */
function hue (name) {
    let sum = 7;
    for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
    return sum * 47 % 360;
}
