// The sidebar, which is a drawer on phones.

import { byId } from '@page/dom.js';

export class Sidebar {
    constructor () {
        byId('menu').addEventListener('click', () => this.toggle(true));
        byId('scrim').addEventListener('click', () => this.close());
        byId('sidebar').addEventListener('keydown', (event) => { if (event.key === 'Escape') this.close(); });
    }

    close () {
        if (!byId('sidebar').classList.contains('open')) return;
        this.toggle(false);
        byId('menu').focus();
    }

    toggle (open) {
        byId('sidebar').classList.toggle('open', open);
        byId('menu').setAttribute('aria-expanded', open);
        if (open) byId('sidebar').querySelector('a').focus();
    }
}
