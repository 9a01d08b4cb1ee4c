// One of several parts of the page is shown.

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
