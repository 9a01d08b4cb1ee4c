// Initials in a circle, in a colour that somebody keeps.

import { element } from './dom.js';

export function avatar (person) {
    const node = element('span', 'avatar', initials(person.name));
    node.style.setProperty('--hue', hue(person.name));
    node.setAttribute('aria-hidden', 'true');
    return node;
}

function initials (name) {
    const words = name.trim().split(/\s+/).slice(0, 2);
    return words.map((word) => [...word][0].toUpperCase()).join('');
}

/** By the name: it stays the same on every node. */
function hue (name) {
    let sum = 7;
    for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
    return sum * 47 % 360;
}
