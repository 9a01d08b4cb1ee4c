// The screens of the page, of which one is shown.

import { byId } from '@page/dom.js';

export class Screen {
    constructor (parts) {
        this.parts = parts;
    }

    show (shown) {
        for (const part of this.parts) byId(part).hidden = part !== shown;
        byId('connection').hidden = shown !== 'app';
    }
}
