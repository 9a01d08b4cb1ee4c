// The dialog after a removal from the room, with the reason. It covers the page until the user rejoins.

import { byId } from '@page/dom.js';

export class Kicked {
    constructor (on) {
        byId('rejoin').addEventListener('click', on.rejoin);
    }

    reset () {
        byId('kicked').hidden = true;
        byId('talk').inert = false;
    }

    show (reason) {
        byId('kicked-reason').textContent = reason;
        byId('kicked').hidden = false;
        byId('talk').inert = true;
        byId('rejoin').focus();
    }
}
