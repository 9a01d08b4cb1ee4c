// The present users, as avatars.

import { avatar } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';

const SHOWN = 6;

export function showPeople (people, you) {
    const sorted = people.toSorted((a, b) => (b.id === you?.id) - (a.id === you?.id) || a.username.localeCompare(b.username));
    const rows = sorted.slice(0, SHOWN).map((person) => row(person, person.id === you?.id));
    if (sorted.length > SHOWN) rows.push(element('li', 'more', `+${sorted.length - SHOWN}`));
    byId('people').replaceChildren(...rows);
}

function row (person, isMe) {
    const name = isMe ? `${person.username} (you)` : person.username;
    const row = element('li', '', avatar(person.username), element('span', 'for-readers', name));
    row.title = name;
    row.dataset.name = person.username;
    return row;
}
