// Who we are to the others: the corner with our name and status.

import { avatar } from '@page/avatar.js';
import { byId } from '@page/dom.js';

export class Me {
    constructor (on) {
        byId('my-status').addEventListener('change', (event) => on.status(event.target.value));
        byId('sign-out').addEventListener('click', on.signOut);
    }

    meet (user) {
        this.user = user;
        byId('my-name').textContent = user.username;
        this.draw(byId('my-status').value);
    }

    /** Shows our status as the others see it. */
    show (present) {
        const mine = present.find(({ id }) => id === this.user.id);
        if (mine) this.draw(mine.status);
    }

    draw (status) {
        byId('my-avatar').replaceChildren(avatar(this.user.username, status));
        byId('my-status').value = status;
    }
}
