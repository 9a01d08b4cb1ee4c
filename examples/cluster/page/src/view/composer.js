// The field in which messages are written.

import { byId } from '@page/dom.js';
import { OwnTyping } from '@page/typists.js';

export class Composer {
    /** `on` has `say`, which takes a text, and `typing`. */
    constructor (on) {
        const typing = new OwnTyping(on.typing);
        byId('text').addEventListener('input', () => { if (byId('text').value) typing.typed(); else typing.stop(); });
        byId('composer').addEventListener('submit', (event) => {
            event.preventDefault();
            const text = byId('text').value.trim();
            typing.stop();
            if (text) on.say(text);
            byId('text').value = '';
            byId('text').focus();
        });
    }

    /** Not on a phone, where it opens the keyboard. */
    focus () {
        if (matchMedia('(pointer: fine)').matches) byId('text').focus();
    }
}
