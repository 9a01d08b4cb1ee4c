// The field for messages to all members or to one.

import { byId } from '@page/dom.js';
import { OwnTyping } from '@page/typists.js';

/** The longest message in characters, as the server limits it. */
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

    /** Sets the recipient of the next messages; `null` for all members. */
    writeTo (person) {
        this.target = person;
        byId('to-one').hidden = !person;
        byId('to-one-text').textContent = person ? `Only ${person.username} will see this` : '';
        byId('composer').classList.toggle('to-one', Boolean(person));
        byId('text').placeholder = person ? `Write to ${person.username}` : 'Write a message';
        if (person) byId('text').focus();
    }

    /** Resets the recipient when that user has left. */
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
        // A refused text stays in the field, to be corrected.
        if ([...text.value.trim()].length <= MAX_TEXT) text.value = '';
        this.measure();
        text.focus();
    }

    /** Adapts the height to the text, and shows the length of a long one. */
    measure () {
        const text = byId('text');
        text.style.height = 'auto';
        text.style.height = `${text.scrollHeight}px`;
        const length = [...text.value.trim()].length;
        byId('length').textContent = length > MAX_TEXT * 0.8 ? `${length} / ${MAX_TEXT}` : '';
        byId('length').classList.toggle('over', length > MAX_TEXT);
    }

    /** Reports typing, except of private messages, which other users must not notice. */
    typed () {
        if (this.target) return;
        if (byId('text').value) this.typing.typed();
        else this.typing.stop();
    }
}
