// The card that asks for a name.

import { byId } from './dom.js';

/**
 * Asks for a name, and calls `start` with it, or at once with the name of an address with `?name=Ada`. Returns a function
 * that asks again because of a problem.
 */
export function wireStart (name, start) {
    const longest = byId('name').maxLength;
    const begin = (chosen) => {
        byId('start').hidden = true;
        document.activeElement?.blur();
        start(chosen);
    };
    const ask = (problem = '') => {
        byId('start').hidden = false;
        byId('start-problem').textContent = problem;
        byId('name').select();
    };
    byId('name').value = name;
    byId('start-form').addEventListener('submit', (event) => {
        event.preventDefault();
        begin(byId('name').value.trim() || name);
    });
    const asked = new URLSearchParams(location.search).get('name')?.trim().slice(0, longest);
    if (asked) {
        byId('name').value = asked;
        begin(asked);
    } else {
        ask();
    }
    return ask;
}
