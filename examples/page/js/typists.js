// Typing indicators: those of other users, and the messages about typing of this user.

import { byId } from './dom.js';

/** The milliseconds after which a user without a further message counts as no longer typing. */
const EXPIRES = 5000;

/** The milliseconds without a key after which typing has ended, and the interval of messages while it goes on. */
const PAUSE = 2500;

/** The users who are typing, shown in the elements `typing` and `typing-text`. */
export class Typists {
    constructor () {
        this.typing = new Map();
    }

    reset () {
        this.keep([]);
    }

    /** Removes users who are not present any more. */
    keep (present) {
        for (const id of this.typing.keys()) {
            if (!present.some((person) => person.id === id)) this.stop(id);
        }
        this.draw();
    }

    set ({ id, name }, isTyping) {
        this.stop(id);
        if (isTyping) {
            const expires = setTimeout(() => this.set({ id }, false), EXPIRES);
            this.typing.set(id, { name, expires });
        }
        this.draw();
    }

    stop (id) {
        clearTimeout(this.typing.get(id)?.expires);
        this.typing.delete(id);
    }

    draw () {
        const names = [...this.typing.values()].map(({ name }) => name);
        byId('typing').classList.toggle('active', names.length > 0);
        byId('typing-text').textContent = sentence(names);
    }
}

function sentence (names) {
    switch (names.length) {
        case 0: return '';
        case 1: return `${names[0]} is typing`;
        case 2: return `${names[0]} and ${names[1]} are typing`;
        default: return `${names.length} people are typing`;
    }
}

/** The typing of this user. `report` is called with `true` when it begins, and with `false` when it ends. */
export class OwnTyping {
    constructor (report) {
        this.report = report;
        this.reportedAt = 0;
    }

    typed () {
        clearTimeout(this.pause);
        this.pause = setTimeout(() => this.stop(), PAUSE);
        if (Date.now() - this.reportedAt < PAUSE) return;
        this.reportedAt = Date.now();
        this.report(true);
    }

    stop () {
        clearTimeout(this.pause);
        if (this.reportedAt) this.report(false);
        this.reportedAt = 0;
    }
}
