// Where messages are written: to all, or to one alone.

import { byId } from '@page/dom.js';
import { OwnTyping } from '@page/typists.js';

/** The longest message, in characters; the server says so. */
const MAX_TEXT = 1000;

export class Composer {
    constructor (on) {
        this.on = on;
        this.target = null;
        this.typing = new OwnTyping(on.typing);
        const text = byId('text');
        text.addEventListener('input', () => { this.measure(); this.typed(); });
        text.addEventListener('keydown', (event) => this.pressed(event));
        byId('composer').addEventListener('submit', (event) => { event.preventDefault(); this.submit(); });
        byId('to-one-end').addEventListener('click', () => { this.writeTo(null); this.focus(); });
    }

    reset () {
        this.typing.stop();
        this.writeTo(null);
        this.measure();
    }

    /** Not on a phone, where it opens the keyboard. */
    focus () {
        if (matchMedia('(pointer: fine)').matches) byId('text').focus();
    }

    /** From now on messages are for this person alone; for `null`, for all. */
    writeTo (person) {
        this.target = person;
        byId('to-one').hidden = !person;
        byId('to-one-text').textContent = person ? `Only ${person.username} will see this` : '';
        byId('composer').classList.toggle('to-one', Boolean(person));
        byId('text').placeholder = person ? `Write to ${person.username}` : 'Write a message';
        if (person) byId('text').focus();
    }

    /** Writes to all again when the person we wrote to has gone. */
    keep (present) {
        if (this.target && !present.some(({ id }) => id === this.target.id)) this.writeTo(null);
    }

    pressed (event) {
        if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            byId('composer').requestSubmit();
        } else if (event.key === 'Escape') {
            this.writeTo(null);
        }
    }

    submit () {
        const text = byId('text');
        this.typing.stop();
        this.on.send(text.value, this.target);
        // What the server refuses stays, to be mended.
        if ([...text.value.trim()].length <= MAX_TEXT) text.value = '';
        this.measure();
        text.focus();
    }

    /** Grows with the text, and counts it when it gets long. */
    measure () {
        const text = byId('text');
        text.style.height = 'auto';
        text.style.height = `${text.scrollHeight}px`;
        const length = [...text.value.trim()].length;
        byId('length').textContent = length > MAX_TEXT * 0.8 ? `${length} / ${MAX_TEXT}` : '';
        byId('length').classList.toggle('over', length > MAX_TEXT);
    }

    /** A private message is nobody else's business, not even that it is being written. */
    typed () {
        if (this.target) return;
        if (byId('text').value) this.typing.typed();
        else this.typing.stop();
    }
}
