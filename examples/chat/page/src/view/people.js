// The users of the room with their status.

import { avatar } from '@page/avatar.js';
import { byId, element, icon, iconButton } from '@page/dom.js';

export class People {
    constructor (on) {
        this.on = on;
        this.names = new Map();
    }

    meet (user) {
        this.me = user;
    }

    reset () {
        this.show([]);
    }

    show (present) {
        const focused = document.activeElement?.closest('.person')?.dataset.user;
        const sorted = present.toSorted((a, b) => (b.id === this.me.id) - (a.id === this.me.id) || a.username.localeCompare(b.username));
        sorted.forEach((person) => this.names.set(person.id, person.username));
        byId('people').replaceChildren(...sorted.map((person) => this.row(person)));
        byId('people-count').textContent = present.length || '';
        byId('room-info').textContent = roomInfo(present.length);
        // The rows are new elements, so the focus of the keyboard is restored.
        if (focused) byId('people').querySelector(`[data-user="${focused}"] button`)?.focus();
    }

    /** The name of a present or former user of the room. */
    nameOf (id) {
        return this.names.get(id) ?? 'Somebody';
    }

    row (person) {
        const isMe = person.id === this.me.id;
        const name = element('span', 'name-line', element('span', 'name', person.username));
        if (person.role === 'admin') name.append(element('span', 'role', 'admin'));
        const text = element('span', 'person-text', name, element('span', 'how', isMe ? `${person.status} · you` : person.status));
        const row = element('li', 'person');
        row.dataset.user = person.id;
        row.append(isMe ? element('div', 'who', avatar(person.username, person.status), text) : this.whisperButton(person, text));
        if (this.me.role === 'admin' && !isMe) {
            const kick = iconButton('kick', `Remove ${person.username} from the room`, () => this.on.kick(person));
            kick.classList.add('kick');
            row.append(kick);
        }
        return row;
    }

    whisperButton (person, text) {
        const button = element('button', 'who', avatar(person.username, person.status), text, icon('lock'));
        button.type = 'button';
        button.title = `Write to ${person.username} privately`;
        button.addEventListener('click', () => this.on.whisper(person));
        return button;
    }
}

function roomInfo (count) {
    if (count === 0) return '\u00a0';
    return count === 1 ? 'Only you are here' : `${count} people are here`;
}
