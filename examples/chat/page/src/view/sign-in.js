// The sign-in screen.

import { Refused } from '../session.js';
import { byId } from '@page/dom.js';

export class SignIn {
    constructor (on) {
        byId('sign-in-form').addEventListener('submit', async (event) => {
            event.preventDefault();
            byId('sign-in-error').textContent = '';
            try {
                await on.signIn(byId('name').value, byId('admin-code').value);
            } catch (error) {
                byId('sign-in-error').textContent = error instanceof Refused ? error.message : 'The server does not answer.';
                byId('name').focus();
            }
        });
    }

    show () {
        byId('sign-in').hidden = false;
        byId('name').focus();
    }

    hide () {
        byId('sign-in').hidden = true;
        byId('app').hidden = false;
    }
}
