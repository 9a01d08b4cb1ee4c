// Our name and our secret, kept for this tab: two tabs are two people, and a reload is the same person.

const COLOURS = ['Amber', 'Azure', 'Coral', 'Golden', 'Green', 'Ivory', 'Olive', 'Rosy', 'Silver', 'Violet'];

const pick = (words) => words[Math.floor(Math.random() * words.length)];

export class Me {
    /** `key` is where they are kept, and `nouns` are for names of people without one. */
    constructor (key, nouns) {
        this.key = key;
        this.kept = JSON.parse(sessionStorage.getItem(key)) ?? {};
        this.kept.name ??= `${pick(COLOURS)} ${pick(nouns)}`;
        this.kept.token ??= crypto.randomUUID();
        this.keep();
    }

    get name () {
        return this.kept.name;
    }

    set name (name) {
        this.kept.name = name;
        this.keep();
    }

    /** The secret by which the server recognises us. */
    get token () {
        return this.kept.token;
    }

    keep () {
        sessionStorage.setItem(this.key, JSON.stringify(this.kept));
    }
}
