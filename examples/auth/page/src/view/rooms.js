// The list of rooms, with the right of this user in each.

import { byId, element } from '@page/dom.js';

const SAID = { write: 'write', read: 'read', none: 'no entry' };

export class Rooms {
    rooms = [];

    constructor (opened) {
        addEventListener('hashchange', () => { if (this.rooms.length) { this.mark(); opened(this.chosen()); } });
    }

    show (rooms) {
        this.rooms = rooms;
        byId('rooms').replaceChildren(...rooms.map(({ name, right }) => {
            const link = element('a', '', `# ${name}`, badge(right));
            link.href = `#${name}`;
            link.dataset.room = name;
            return element('li', '', link);
        }));
        this.mark();
    }

    /** The room of the address, or the first one. */
    chosen () {
        const named = location.hash.slice(1);
        return (this.rooms.find(({ name }) => name === named) ?? this.rooms[0]).name;
    }

    mark () {
        for (const link of byId('rooms').querySelectorAll('a')) {
            if (link.dataset.room === this.chosen()) link.setAttribute('aria-current', 'page');
            else link.removeAttribute('aria-current');
        }
    }
}

export function badge (right) {
    const node = element('span', 'badge', SAID[right]);
    node.dataset.right = right;
    return node;
}
