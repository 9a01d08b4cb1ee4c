// Typing: other people who do, and the messages about our own.

import { byId } from './dom.js';

/** A user without another message has stopped after so many milliseconds. */
const EXPIRES = 5000;

/** After so many milliseconds without a key we have stopped typing; while we type it is sent again as often. */
const PAUSE = 2500;

/** The people who are typing, in the elements `typing` and `typing-text`. */
export class Typists {
    constructor () {
        this.typing = new Map();
    }

    reset () {
        this.keep([]);
    }

    /** Forgets those who are not here any more. */
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

/** Our own typing: `tell` is called with `true` when it begins, and with `false` when it ends. */
export class OwnTyping {
    constructor (tell) {
        this.tell = tell;
        this.toldAt = 0;
    }

    typed () {
        clearTimeout(this.pause);
        this.pause = setTimeout(() => this.stop(), PAUSE);
        if (Date.now() - this.toldAt < PAUSE) return;
        this.toldAt = Date.now();
        this.tell(true);
    }

    stop () {
        clearTimeout(this.pause);
        if (this.toldAt) this.tell(false);
        this.toldAt = 0;
    }
}
