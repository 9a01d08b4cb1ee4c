// The best players, and the rank of this one.

import { byId, element } from '@page/dom.js';
import { colours } from './fish.js';

export function showLeaderboard ({ top, players, rank }, me) {
    byId('leaders').replaceChildren(...top.map((entry) => row(entry, me)));
    byId('rank').textContent = `${rank} of ${players}`;
    byId('players').textContent = players;
}

function row ({ id, name, score, level }, me) {
    const dot = element('i', 'dot');
    dot.style.background = colours(id)[0];
    const row = element('li', id === me ? 'me' : '', dot, element('span', 'name', name), element('span', 'level', `lv ${level}`), element('span', 'score', String(score)));
    row.dataset.score = score;
    return row;
}
