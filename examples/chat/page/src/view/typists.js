// Who is typing.

import { byId } from '@page/dom.js';

/** Whoever goes without a word has stopped after so many milliseconds. */
const EXPIRES = 5000;

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

    set (user, isTyping) {
        this.stop(user.id);
        if (isTyping) {
            const expires = setTimeout(() => this.set(user, false), EXPIRES);
            this.typing.set(user.id, { name: user.username, expires });
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
