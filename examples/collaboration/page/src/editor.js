// A text area for a shared text: input becomes a change, and changes of other users move the cursor.

import * as Y from 'yjs';

/** The origin of changes by input here: they are shown already, and can be undone. */
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

    /** Executes an action now, or at the end of a running composition. */
    whenFree (act) {
        if (this.isComposing) this.held.push(act);
        else act();
    }

    composed () {
        this.isComposing = false;
        // In some browsers the last input of a composition follows its end.
        queueMicrotask(() => this.typed());
        setTimeout(() => this.held.splice(0).forEach((act) => this.whenFree(act)));
    }

    /** Derives the change from the texts before and after an input. */
    typed () {
        const [old, now, caret] = [this.shown, this.area.value, this.area.selectionEnd];
        if (old === now) return;
        let end = 0;
        // The text behind the cursor is unchanged.
        while (end < Math.min(old.length, now.length - caret) && old.at(-1 - end) === now.at(-1 - end)) end++;
        let start = 0;
        while (start < Math.min(old.length, now.length) - end && old[start] === now[start]) start++;
        // A change must not begin between the halves of a surrogate pair.
        if (isHigh(old[start - 1]) || isHigh(now[start - 1])) start--;
        if (isLow(old[old.length - end]) || isLow(now[now.length - end])) end--;
        this.shown = now;
        this.typedAt = caret;
        this.doc.transact(() => {
            this.text.delete(start, old.length - end - start);
            this.text.insert(start, now.slice(start, now.length - end));
        }, EDITOR);
        this.reportSelection();
    }

    /** Shows a change of another user. The selection keeps its place in the text. */
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

    /** Undo is our own, because that of the browser does not know the changes of other users. */
    before (event) {
        if (event.inputType === 'historyUndo') this.take(event, 'undo');
        else if (event.inputType === 'historyRedo') this.take(event, 'redo');
    }

    take (event, what) {
        event.preventDefault();
        this.undo[what]();
    }

    /** Begins a new step of undo after a change of the cursor. */
    selected () {
        if (this.area.selectionEnd !== this.typedAt) this.undo.stopCapturing();
        this.reportSelection();
    }

    reportSelection () {
        const { selectionStart, selectionEnd, selectionDirection } = this.area;
        const [anchor, head] = selectionDirection === 'backward' ? [selectionEnd, selectionStart] : [selectionStart, selectionEnd];
        this.on.selected({ anchor: this.relative(anchor), head: this.relative(head) });
    }

    /** A position relative to the text, which changes elsewhere do not move. */
    relative (at) {
        return JSON.stringify(Y.createRelativePositionFromTypeIndex(this.text, at));
    }

    /** The present index of a relative position; `null` if its text is unknown here. */
    absolute (relative) {
        const position = Y.createRelativePositionFromJSON(JSON.parse(relative));
        return Y.createAbsolutePositionFromRelativePosition(position, this.doc)?.index ?? null;
    }
}

/** An index after a change. Text that is inserted exactly there is behind it. */
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
