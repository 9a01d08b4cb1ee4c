// The messages, grouped by sender and node; notices; messages that are not sent yet.

import { avatar } from '@page/avatar.js';
import { byId, element } from '@page/dom.js';
import { chip } from './chip.js';

/** The number of lines that stay on the screen. */
const MAX_SHOWN = 300;

/** The distance to the end, in pixels, within which the list follows new lines. */
const NEAR_END = 80;

const clock = new Intl.DateTimeFormat([], { hour: 'numeric', minute: '2-digit' });

export class Messages {
    last = null;

    /** `isMe` returns whether a person is the user of this page. */
    constructor (isMe) {
        this.isMe = isMe;
        this.scroller = byId('scroller');
        // Keeps the end visible when the window changes its size.
        this.scroller.addEventListener('scroll', () => { this.atEnd = this.isAtEnd(); });
        new ResizeObserver(() => { if (this.atEnd ?? true) this.scrollToEnd(); }).observe(this.scroller);
    }

    add (message) {
        const mine = this.isMe(message.from);
        const goesOn = this.last?.from.id === message.from.id && this.last.from.node === message.from.node;
        const time = element('time', '', clock.format(message.at));
        time.dateTime = new Date(message.at).toISOString();
        const meta = element('p', 'meta', element('strong', '', message.from.name), chip(message.from.node), time);
        const classes = ['message', mine ? 'mine' : '', goesOn ? '' : 'first'].join(' ');
        this.append(element('li', classes, avatar(message.from.name), meta, element('p', 'body', message.text)), mine || this.isAtEnd());
        this.last = message;
    }

    /** Shows a notice between the messages. */
    notice (...parts) {
        this.append(element('li', 'notice', ...parts));
        this.last = null;
    }

    /** Shows the messages that were not received back yet. */
    unconfirmed (texts) {
        byId('unconfirmed').replaceChildren(...texts.map((text) => element('li', 'message mine', element('p', 'body', text))));
        if (texts.length) this.scrollToEnd();
    }

    append (row, follow = this.isAtEnd()) {
        const list = byId('messages');
        list.append(row);
        while (list.childElementCount > MAX_SHOWN) list.firstElementChild.remove();
        if (follow) this.scrollToEnd();
    }

    isAtEnd () {
        return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
    }

    scrollToEnd () {
        this.scroller.scrollTop = this.scroller.scrollHeight;
    }
}
