// The cursors of other users: a second, invisible copy of the text behind the text area, with marks in it.

import { hueOf } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';

export class Cursors {
    /** The cursors by user id: `{ person, selection }`. */
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

    /** Removes the cursors of users who are not present any more. */
    keep (people) {
        for (const id of this.others.keys()) {
            if (!people.some((person) => person.id === id)) this.others.delete(id);
        }
        this.draw();
    }

    /** Draws at most once in a frame. */
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
        // An empty last line would have no height.
        byId('marks').replaceChildren(...pieces, '\u200b');
    }

    mark ({ person, selection }, length) {
        const ends = [selection.anchor, selection.head].map((end) => this.end(end));
        if (ends.includes(null)) return [];
        const [anchor, head] = ends.map((end) => Math.min(end, length));
        return [{ person, head, from: Math.min(anchor, head), to: Math.max(anchor, head) }];
    }

    /** Checks a selection, because the server passes on values of other clients unchecked. */
    end (relative) {
        try {
            return this.editor.absolute(relative);
        } catch {
            return null;
        }
    }
}

/** The colour of the avatar of a user. */
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
