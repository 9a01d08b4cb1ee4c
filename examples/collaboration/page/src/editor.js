// A plain text area whose text is a shared one: what is typed becomes a change, and changes of others move the cursor along.

import * as Y from 'yjs';

/** Our own typing: it is on the screen already, and can be undone. */
const EDITOR = 'editor';

export class Editor {
    isComposing = false;
    held = [];

    /** `on.changed(text)` after each change, `on.selected({ anchor, head })` when the cursor moves. */
    constructor (area, on) {
        this.area = area;
        this.on = on;
        area.addEventListener('input', () => this.typed());
        area.addEventListener('keydown', (event) => this.key(event));
        area.addEventListener('beforeinput', (event) => this.before(event));
        area.addEventListener('compositionstart', () => { this.isComposing = true; });
        area.addEventListener('compositionend', () => this.composed());
        document.addEventListener('selectionchange', () => { if (document.activeElement === area) this.selected(); });
    }

    /** Shows another document. */
    bind (doc) {
        this.undo?.destroy();
        this.doc = doc;
        this.text = doc.getText('text');
        this.undo = new Y.UndoManager(this.text, { trackedOrigins: new Set([EDITOR]) });
        this.text.observe((event, { origin }) => {
            if (origin !== EDITOR) this.show(event.delta);
            this.on.changed(this.area.value);
        });
        this.area.value = this.shown = this.text.toString();
        this.on.changed(this.shown);
    }

    /** Does something now, or after the letter that is being composed. */
    whenFree (act) {
        if (this.isComposing) this.held.push(act);
        else act();
    }

    composed () {
        this.isComposing = false;
        // The last input of a composition comes in some browsers after its end.
        queueMicrotask(() => this.typed());
        setTimeout(() => this.held.splice(0).forEach((act) => this.whenFree(act)));
    }

    /** Finds what was typed, between what was there and what is there now. */
    typed () {
        const [old, now, caret] = [this.shown, this.area.value, this.area.selectionEnd];
        if (old === now) return;
        let end = 0;
        // What stands behind the cursor was there before.
        while (end < Math.min(old.length, now.length - caret) && old.at(-1 - end) === now.at(-1 - end)) end++;
        let start = 0;
        while (start < Math.min(old.length, now.length) - end && old[start] === now[start]) start++;
        // Not between the two halves of one character.
        if (isHigh(old[start - 1]) || isHigh(now[start - 1])) start--;
        if (isLow(old[old.length - end]) || isLow(now[now.length - end])) end--;
        this.shown = now;
        this.typedAt = caret;
        this.doc.transact(() => {
            this.text.delete(start, old.length - end - start);
            this.text.insert(start, now.slice(start, now.length - end));
        }, EDITOR);
        this.tellSelection();
    }

    /** Shows a change that was not typed here; the selection stays around the same letters. */
    show (delta) {
        const { area } = this;
        const moved = [area.selectionStart, area.selectionEnd].map((at) => movedBy(delta, at));
        const { selectionDirection } = area;
        area.value = this.shown = this.text.toString();
        area.setSelectionRange(...moved, selectionDirection);
        this.typedAt = moved[1];
    }

    key (event) {
        if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
        const key = event.key.toLowerCase();
        if (key === 'z') this.take(event, event.shiftKey ? 'redo' : 'undo');
        else if (key === 'y') this.take(event, 'redo');
    }

    /** The browser's own undo knows nothing of what others have written. */
    before (event) {
        if (event.inputType === 'historyUndo') this.take(event, 'undo');
        else if (event.inputType === 'historyRedo') this.take(event, 'redo');
    }

    take (event, what) {
        event.preventDefault();
        this.undo[what]();
    }

    /** What is typed elsewhere is undone by itself. */
    selected () {
        if (this.area.selectionEnd !== this.typedAt) this.undo.stopCapturing();
        this.tellSelection();
    }

    tellSelection () {
        const { selectionStart, selectionEnd, selectionDirection } = this.area;
        const [anchor, head] = selectionDirection === 'backward' ? [selectionEnd, selectionStart] : [selectionStart, selectionEnd];
        this.on.selected({ anchor: this.relative(anchor), head: this.relative(head) });
    }

    /** A position that stays at its letter, whatever is written elsewhere. */
    relative (at) {
        return JSON.stringify(Y.createRelativePositionFromTypeIndex(this.text, at));
    }

    /** Where that is now; `null` if it is in no text that we have. */
    absolute (relative) {
        const position = Y.createRelativePositionFromJSON(JSON.parse(relative));
        return Y.createAbsolutePositionFromRelativePosition(position, this.doc)?.index ?? null;
    }
}

/** Where a position is after a change. What is inserted right at it comes behind it. */
function movedBy (delta, position) {
    let at = 0;
    for (const { retain = 0, insert = '', delete: gone = 0 } of delta) {
        if (at >= position && !gone) break;
        at += retain;
        if (insert && at < position) position += insert.length;
        at += insert.length;
        if (gone && at < position) position = Math.max(at, position - gone);
    }
    return position;
}

const isHigh = (unit) => unit >= '\ud800' && unit <= '\udbff';
const isLow = (unit) => unit >= '\udc00' && unit <= '\udfff';
