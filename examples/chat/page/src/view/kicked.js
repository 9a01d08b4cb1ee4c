// Tells somebody who was removed from the room, and why; what is behind it is out of reach until they come back.

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
