// Notices about new levels: the last few, which fade.

import { byId, element } from '@page/dom.js';
import { colours } from './fish.js';

const SHOWN_FOR = 7000;
const AT_ONCE = 4;
const FADES = 400;

export class Feed {
    meet (you) {
        this.me = you.id;
    }

    add ({ id, name, level, title }) {
        const isMine = id === this.me;
        if (isMine) this.celebrate(title);
        const dot = element('i', 'dot');
        dot.style.background = colours(id)[0];
        const line = element('li', isMine ? 'mine' : '', dot, element('strong', '', isMine ? 'You' : name), ` reached level ${level}: ${title}`);
        byId('feed').append(line);
        while (byId('feed').childElementCount > AT_ONCE) byId('feed').firstElementChild.remove();
        setTimeout(() => line.classList.add('gone'), SHOWN_FOR - FADES);
        setTimeout(() => line.remove(), SHOWN_FOR);
    }

    celebrate (title) {
        byId('grown').textContent = title;
        byId('grown').classList.remove('shown');
        // Restarts the animation.
        void byId('grown').offsetWidth;
        byId('grown').classList.add('shown');
    }
}
