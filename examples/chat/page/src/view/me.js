// The corner with the name and status of this user.

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

    /** Shows the status as other users see it. */
    show (present) {
        const mine = present.find(({ id }) => id === this.user.id);
        if (mine) this.draw(mine.status);
    }

    draw (status) {
        byId('my-avatar').replaceChildren(avatar(this.user.username, status));
        byId('my-status').value = status;
    }
}
