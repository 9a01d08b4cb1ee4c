// The name and secret of this user, kept in the session storage: each tab is a user of its own, also after a reload.

const COLOURS = ['Amber', 'Azure', 'Coral', 'Golden', 'Green', 'Ivory', 'Olive', 'Rosy', 'Silver', 'Violet'];

const pick = (words) => words[Math.floor(Math.random() * words.length)];

export class Me {
    /** `key` is the key in the storage, `nouns` the second words of suggested names. */
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

    /** The secret by which the server recognises this user. */
    get token () {
        return this.kept.token;
    }

    keep () {
        sessionStorage.setItem(this.key, JSON.stringify(this.kept));
    }
}
