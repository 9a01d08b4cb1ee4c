// The card of an event: buttons that send it, the tokens left in its bucket, and the last answer.

import { element } from '@page/dom.js';
import { outcomeOf, textOf } from './outcome.js';

const PACE = 100;

export class EventCard {
    constructor (root, send) {
        this.root = root;
        this.event = root.dataset.event;
        for (const button of root.querySelectorAll('[data-times]')) {
            button.addEventListener('click', () => send(this, Number(button.dataset.times)));
        }
    }

    /** Shows the limit of the event, as the server sends it; `undefined` for none of its own. */
    limit (limit) {
        if (!limit) return;
        this.rate = limit;
        this.tokens = limit.burst;
        this.at = Date.now();
        this.root.querySelector('.rate').textContent = `${limit.burst} at once, then ${limit.perSecond} a second`;
        this.root.querySelector('.bucket').replaceChildren(...Array.from({ length: limit.burst }, () => element('i')));
        clearInterval(this.timer);
        this.timer = setInterval(() => this.show(), PACE);
        this.show();
    }

    answered (answer) {
        const outcome = outcomeOf(answer);
        if (this.rate) {
            this.refill();
            // Only the server knows the tokens. Its answers correct this estimate.
            if (outcome === 'refused') this.tokens = Math.max(0, 1 - answer.details.retryAfterMs / 1000 * this.rate.perSecond);
            else this.tokens = Math.max(0, this.tokens - 1);
            this.show();
        }
        this.root.dataset.outcome = outcome;
        this.root.querySelector('.verdict').textContent = answer.code ? `${answer.code} ${textOf(answer)}` : 'done';
    }

    refill () {
        const now = Date.now();
        this.tokens = Math.min(this.rate.burst, this.tokens + (now - this.at) / 1000 * this.rate.perSecond);
        this.at = now;
    }

    show () {
        this.refill();
        [...this.root.querySelector('.bucket').children].forEach((drop, number) => {
            drop.style.setProperty('--full', `${Math.round(Math.min(1, Math.max(0, this.tokens - number)) * 100)}%`);
        });
    }
}
