// The messages, grouped by sender and day, and those that are not sent yet.

import { avatar } from '@page/avatar.js';
import { byId, element, icon } from '@page/dom.js';

/** The time within which the next message of a user is in the same group. */
const GROUP_WITHIN = 5 * 60 * 1000;

/** The number of messages that stay on the screen. */
const MAX_SHOWN = 500;

/** The distance to the end, in pixels, within which the list follows new messages. */
const NEAR_END = 80;

const clock = new Intl.DateTimeFormat([], { hour: 'numeric', minute: '2-digit' });
const day = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long' });
const moment = new Intl.DateTimeFormat([], { dateStyle: 'full', timeStyle: 'medium' });

export class Messages {
    constructor () {
        this.scroller = byId('scroller');
        byId('to-newest').addEventListener('click', () => this.scrollToEnd());
        this.scroller.addEventListener('scroll', () => { if (this.isAtEnd()) byId('to-newest').hidden = true; });
        // Keeps the end visible when the composer grows or the keyboard of a phone opens.
        this.wasAtEnd = true;
        this.scroller.addEventListener('scroll', () => { this.wasAtEnd = this.isAtEnd(); });
        new ResizeObserver(() => { if (this.wasAtEnd) this.scrollToEnd(); }).observe(this.scroller);
    }

    meet (user) {
        this.me = user;
    }

    reset () {
        byId('messages').replaceChildren();
        byId('to-newest').hidden = true;
        this.lastMessage = null;
        this.lastDay = null;
    }

    add (message) {
        this.addDay(message);
        this.append(this.row(message), message.from.id === this.me.id);
        this.lastMessage = message;
    }

    /** Shows a notice between the messages. */
    notice (text) {
        this.append(element('li', 'notice', text));
        this.lastMessage = null;
    }

    /** Shows the messages that are not sent yet. */
    wait (texts) {
        byId('waiting').replaceChildren(...texts.map((text) => element('li', 'message mine', element('p', 'body', text))));
        if (texts.length) this.scrollToEnd();
    }

    addDay (message) {
        const name = day.format(message.at);
        if (name === this.lastDay) return;
        this.lastDay = name;
        this.notice(name);
    }

    row (message) {
        const mine = message.from.id === this.me.id;
        const classes = ['message', mine && 'mine', message.to && 'private', !this.continues(message) && 'first'];
        const time = element('time', '', clock.format(message.at));
        time.dateTime = new Date(message.at).toISOString();
        time.title = moment.format(message.at);
        const meta = element('p', 'meta', element('strong', '', message.from.username));
        if (message.from.role === 'admin') meta.append(element('span', 'role', 'admin'));
        if (message.to) meta.append(element('span', 'tag', icon('lock'), mine ? `only for ${message.to.username}` : 'only for you'));
        meta.append(time);
        return element('li', classes.filter(Boolean).join(' '), avatar(message.from.username), meta, element('p', 'body', message.text));
    }

    /** Returns whether a message belongs to the last group. */
    continues (message) {
        const last = this.lastMessage;
        return last && last.from.id === message.from.id && last.to?.id === message.to?.id && message.at - last.at < GROUP_WITHIN;
    }

    append (row, follow = this.isAtEnd()) {
        const list = byId('messages');
        list.append(row);
        while (list.childElementCount > MAX_SHOWN) list.firstElementChild.remove();
        if (follow) this.scrollToEnd();
        else byId('to-newest').hidden = false;
    }

    isAtEnd () {
        return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
    }

    scrollToEnd () {
        this.scroller.scrollTop = this.scroller.scrollHeight;
        byId('to-newest').hidden = true;
    }
}
