// Who is in the lobby, and on which node. What has changed is told as well.

import { avatar } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';
import { chip } from './chip.js';

export class People {
    /** By id; `null` before we have been in. */
    known = null;

    /** `isMe` tells whether a person is us; `notice` takes what is to be told, as parts of a line. */
    constructor (isMe, notice) {
        this.isMe = isMe;
        this.notice = notice;
    }

    show (present) {
        const before = this.known;
        this.known = new Map(present.map((person) => [person.id, person]));
        if (before) this.tell(before);
        const { isMe } = this;
        const sorted = present.toSorted((a, b) => isMe(b) - isMe(a) || a.name.localeCompare(b.name));
        byId('people').replaceChildren(...sorted.map((person) => this.row(person, isMe(person))));
        byId('people-count').textContent = present.length;
    }

    row (person, isMe) {
        const name = element('span', 'name', person.name);
        const row = element('li', 'person', avatar(person.name), name, isMe ? element('span', 'you', 'you') : '', chip(person.node));
        row.dataset.user = person.id;
        return row;
    }

    tell (before) {
        for (const person of this.known.values()) {
            const was = before.get(person.id);
            if (!was) this.notice(`${person.name} is here, on `, chip(person.node));
            else if (was.node !== person.node) this.notice(this.subject(person), ' on ', chip(person.node), ' now');
        }
        for (const person of before.values()) {
            if (!this.known.has(person.id)) this.notice(`${person.name} has left`);
        }
    }

    subject (person) {
        return this.isMe(person) ? 'You are' : `${person.name} is`;
    }
}
