// The current room: its members, its messages and the field for new ones.

import { avatar } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';

const SAID = { write: 'write', read: 'read', none: 'no entry' };
const MAX_SHOWN = 200;

export class Room {
    constructor (say) {
        byId('composer').addEventListener('submit', (event) => {
            event.preventDefault();
            const text = byId('text').value.trim();
            if (text) say(text);
            byId('text').value = '';
        });
    }

    /** Clears the screen for a room. */
    enter (room, me) {
        this.room = room;
        byId('room-name').textContent = `# ${room}`;
        byId('messages').replaceChildren();
        byId('people').textContent = '';
        this.closed(false);
        this.may(me.rooms.find(({ name }) => name === room).right);
    }

    welcome ({ right }) {
        this.closed(false);
        this.may(right);
    }

    /** The field stays for users who may only read, because this page demonstrates the refusal by the server. */
    may (right) {
        byId('right').textContent = SAID[right];
        byId('right').dataset.right = right;
        byId('text').placeholder = right === 'read' ? 'You may only read here: try it' : 'Write a message';
    }

    people (people) {
        byId('people').textContent = people.map(({ name }) => name).sort().join(', ');
    }

    message ({ from, text }, me) {
        const meta = element('p', 'meta', element('strong', '', from.name), element('span', 'badge', from.role));
        byId('messages').append(element('li', from.id === me.id ? 'message mine' : 'message', avatar(from.name), meta, element('p', 'body', text)));
        while (byId('messages').childElementCount > MAX_SHOWN) byId('messages').firstElementChild.remove();
        byId('messages').scrollTop = byId('messages').scrollHeight;
    }

    declined (me) {
        byId('no-entry-why').textContent = `The server has declined the join with 403: the role “${me.role}” may not enter #${this.room}.`;
        this.closed(true);
    }

    closed (closed) {
        byId('no-entry').hidden = !closed;
        byId('messages').hidden = byId('composer').hidden = closed;
    }
}
