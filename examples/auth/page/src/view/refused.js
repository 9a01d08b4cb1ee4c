// The screen with the reason of a refusal.

import { byId } from '@page/dom.js';

const TITLES = {
    missing: 'No token, no entry',
    signature: 'This token is forged',
    expired: 'Your token has expired',
    foreign: 'This token is not for us',
    malformed: 'This is no token',
};

export function showRefused (status, reason, message) {
    byId('refused-title').textContent = TITLES[reason] ?? 'You are not let in';
    byId('refused-why').textContent = `The server says: ${message}.`;
    byId('refused-code').textContent = reason ? `${status} ${reason}` : status;
}
