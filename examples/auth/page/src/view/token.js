// The token: its owner, its remaining time and its renewal.

import { avatar } from '@page/avatar.js';
import { byId } from '@page/dom.js';

/** The part of its lifetime that is left when a token is renewed. */
const RENEW_AT = 1 / 3;
const PACE = 200;

export class Token {
    constructor (on) {
        this.on = on;
        byId('renew').addEventListener('click', () => this.renew());
        byId('sign-out').addEventListener('click', on.signOut);
    }

    show (me) {
        byId('avatar').replaceChildren(avatar(me.name));
        byId('name').textContent = me.name;
        byId('role').textContent = me.role;
        this.renewals = 0;
        this.begin(me);
    }

    renewed (me) {
        this.renewals++;
        this.begin(me);
    }

    begin (me) {
        this.stop();
        this.expires = me.expiresAt * 1000;
        this.lifetime = this.expires - Date.now();
        byId('renewals').textContent = this.renewals;
        this.timer = setInterval(() => this.tick(), PACE);
        this.tick();
    }

    stop () {
        clearInterval(this.timer);
    }

    tick () {
        const left = Math.max(0, this.expires - Date.now());
        byId('left').textContent = Math.ceil(left / 1000);
        byId('left-bar').style.width = `${Math.min(100, left / this.lifetime * 100)}%`;
        byId('left-bar').parentElement.classList.toggle('low', left < this.lifetime * RENEW_AT);
        if (byId('auto').checked && left < this.lifetime * RENEW_AT) this.renew();
    }

    async renew () {
        if (this.renewing) return;
        this.renewing = true;
        await this.on.renew();
        this.renewing = false;
    }
}
