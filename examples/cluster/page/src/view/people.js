// The users of the channel with their nodes, and notices about changes.

import { avatar } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';
import { chip } from './chip.js';

export class People {
    /** The users by id; `null` before the first presence message. */
    known = null;

    /** `isMe` returns whether a person is the user of this page; `notice` shows a line, given in parts. */
    constructor (isMe, notice) {
        this.isMe = isMe;
        this.notice = notice;
    }

    show (present) {
        const before = this.known;
        this.known = new Map(present.map((person) => [person.id, person]));
        if (before) this.showChanges(before);
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

    showChanges (before) {
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
