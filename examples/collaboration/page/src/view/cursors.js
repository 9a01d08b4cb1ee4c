// Where the others are in the text: the same text once more behind the text area, invisible, with their marks in it.

import { hueOf } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';

export class Cursors {
    /** By id: `{ person, selection }`. */
    others = new Map();

    constructor (editor) {
        this.editor = editor;
    }

    reset () {
        this.others.clear();
        this.draw();
    }

    set (person, selection) {
        this.others.set(person.id, { person, selection });
        this.draw();
    }

    /** Forgets those who are not here any more. */
    keep (people) {
        for (const id of this.others.keys()) {
            if (!people.some((person) => person.id === id)) this.others.delete(id);
        }
        this.draw();
    }

    /** Once a frame, however often it is called. */
    draw () {
        this.drawing ??= requestAnimationFrame(() => { this.drawing = null; this.drawNow(); });
    }

    drawNow () {
        const text = this.editor.shown;
        const marks = [...this.others.values()].flatMap((other) => this.mark(other, text.length));
        const edges = [...new Set([0, text.length, ...marks.flatMap(({ from, to, head }) => [from, to, head])])].sort((a, b) => a - b);
        const pieces = edges.flatMap((at, number) => {
            const carets = marks.filter(({ head }) => head === at).map(caret);
            const next = edges[number + 1];
            return next === undefined ? carets : [...carets, piece(text.slice(at, next), marks.find(({ from, to }) => from <= at && next <= to))];
        });
        // The last line needs something in it to be as high as the others.
        byId('marks').replaceChildren(...pieces, '\u200b');
    }

    mark ({ person, selection }, length) {
        const ends = [selection.anchor, selection.head].map((end) => this.end(end));
        if (ends.includes(null)) return [];
        const [anchor, head] = ends.map((end) => Math.min(end, length));
        return [{ person, head, from: Math.min(anchor, head), to: Math.max(anchor, head) }];
    }

    /** The server passes on what others send: it may be anything. */
    end (relative) {
        try {
            return this.editor.absolute(relative);
        } catch {
            return null;
        }
    }
}

/** The colour that somebody's avatar has. */
function coloured (node, person) {
    node.style.setProperty('--hue', hueOf(person.username));
    return node;
}

function caret ({ person }) {
    const flag = element('span', 'flag', person.username);
    const node = coloured(element('span', 'caret', flag), person);
    node.dataset.name = person.username;
    return node;
}

function piece (text, mark) {
    return mark ? coloured(element('mark', '', text), mark.person) : text;
}
