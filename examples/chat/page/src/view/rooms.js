// The rooms. The chosen one is part of the address, so that links and the history of the browser work.

import { byId, element } from '@page/dom.js';

const KNOWN = ['general', 'random', 'support'];

/** The room in the address. */
export function chosenRoom () {
    return roomId(decodeURIComponent(location.hash.slice(1))) || KNOWN[0];
}

export class Rooms {
    constructor () {
        byId('new-room').addEventListener('submit', (event) => {
            event.preventDefault();
            const id = roomId(byId('new-room-name').value);
            byId('new-room').reset();
            if (id) location.hash = id;
        });
        KNOWN.forEach((id) => this.add(id));
    }

    show (id) {
        if (!this.link(id)) this.add(id);
        for (const link of byId('rooms').querySelectorAll('a')) link.removeAttribute('aria-current');
        this.link(id).setAttribute('aria-current', 'page');
        byId('room-name').textContent = nameOf(id);
        document.title = `${nameOf(id)} – Pond chat`;
    }

    add (id) {
        const hash = element('span', 'hash', '#');
        hash.setAttribute('aria-hidden', 'true');
        const link = element('a', '', hash, nameOf(id));
        link.href = `#${id}`;
        link.dataset.room = id;
        byId('rooms').append(element('li', '', link));
    }

    link (id) {
        return byId('rooms').querySelector(`[data-room="${id}"]`);
    }
}

/** A room's id has small letters, digits and dashes; empty if nothing is left. */
function roomId (name) {
    return name.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 32).replace(/^-+|-+$/g, '');
}

function nameOf (id) {
    return id[0].toUpperCase() + id.slice(1).replaceAll('-', ' ');
}
