// What is on the screen. Everything that people wrote is set as text, never as markup.

import { clock, dayName, hue, initials } from './format.js';

const MAX_TEXT = 1000;
const TYPING_PAUSE = 2000;
const TYPING_EXPIRES = 5000;
const GROUP_WITHIN = 5 * 60 * 1000;

const byId = (id) => document.getElementById(id);

/** An element with a class and a text. */
function element (tag, className = '', text = '') {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = text;
    return node;
}

function avatar (user, status) {
    const node = element('span', 'avatar', initials(user.username));
    node.style.setProperty('--hue', hue(user.id));
    node.setAttribute('aria-hidden', 'true');
    if (status) node.dataset.status = status;
    return node;
}

export class View {
    constructor (rooms) {
        this.rooms = rooms;
        this.seen = new Set();
        this.typists = new Map();
        this.people = [];
        this.target = null;
        this.wireSignIn();
        this.wireRooms();
        this.wireComposer();
        this.wireTheme();
        byId('status').addEventListener('change', (event) => this.onStatus(event.target.value));
        byId('sign-out').addEventListener('click', () => this.onSignOut());
        byId('rejoin').addEventListener('click', () => { byId('kicked').hidden = true; this.onRejoin(); });
    }

    // ---- signing in ----

    showSignIn () {
        byId('sign-in').hidden = false;
        byId('app').hidden = true;
    }

    showSignInError (text) {
        const error = byId('sign-in-error');
        error.textContent = text;
        error.hidden = false;
    }

    wireSignIn () {
        byId('sign-in').hidden = true;
        byId('sign-in-form').addEventListener('submit', (event) => {
            event.preventDefault();
            this.onSignIn(byId('name').value, byId('admin-code').value);
        });
    }

    showChat (me) {
        this.me = me;
        byId('sign-in').hidden = true;
        byId('app').hidden = false;
        byId('my-name').textContent = me.username;
        byId('my-avatar').replaceWith(Object.assign(avatar(me), { id: 'my-avatar' }));
        byId('text').focus();
    }

    // ---- rooms ----

    wireRooms () {
        for (const room of this.rooms) {
            const button = element('button', '', room.name);
            button.prepend(element('span', 'hash', '#'));
            button.dataset.room = room.id;
            button.addEventListener('click', () => { this.toggleSidebar(false); this.onRoom(room.id); });
            const item = element('li');
            item.append(button);
            byId('rooms').append(item);
        }
        byId('menu').addEventListener('click', () => this.toggleSidebar(!byId('sidebar').classList.contains('open')));
        byId('scrim').addEventListener('click', () => this.toggleSidebar(false));
        addEventListener('keydown', (event) => {
            if (event.key === 'Escape') { this.toggleSidebar(false); this.writeTo(null); }
        });
    }

    toggleSidebar (open) {
        byId('sidebar').classList.toggle('open', open);
        byId('scrim').hidden = !open;
        byId('menu').setAttribute('aria-expanded', open);
    }

    showRoom (id) {
        byId('room-name').textContent = this.rooms.find((room) => room.id === id)?.name ?? id;
        byId('room-info').textContent = '';
        byId('messages').replaceChildren();
        byId('kicked').hidden = true;
        byId('status').value = 'online';
        this.seen.clear();
        this.typists.clear();
        this.last = null;
        this.writeTo(null);
        this.showPeople([]);
        this.renderTyping();
        for (const button of byId('rooms').querySelectorAll('button')) {
            button.setAttribute('aria-current', button.dataset.room === id);
        }
    }

    showConnection (state) {
        const badge = byId('connection');
        badge.dataset.state = state;
        badge.textContent = state;
    }

    // ---- people ----

    showPeople (people) {
        this.people = people.toSorted((a, b) => a.username.localeCompare(b.username));
        byId('count').textContent = people.length;
        byId('room-info').textContent = people.length === 1 ? 'Only you are here' : people.length ? `${people.length} people are here` : '';
        byId('people').replaceChildren(...this.people.map((person) => this.person(person)));
        const mine = people.find((person) => person.id === this.me?.id);
        if (mine) {
            byId('my-avatar').dataset.status = mine.status;
            byId('status').value = mine.status;
        }
        if (this.target && !people.some((person) => person.id === this.target.id)) this.writeTo(null);
        for (const id of this.typists.keys()) if (!people.some((person) => person.id === id)) this.typists.delete(id);
        this.renderTyping();
    }

    person (person) {
        const row = element('li', 'person');
        const isMe = person.id === this.me?.id;
        const who = element('button', 'who');
        const name = element('span', 'name', isMe ? `${person.username} (you)` : person.username);
        if (person.role === 'admin') name.append(element('span', 'role', 'admin'));
        who.append(name, element('span', 'how', person.status));
        who.disabled = isMe;
        if (!isMe) {
            who.title = `Write to ${person.username} privately`;
            who.addEventListener('click', () => { this.toggleSidebar(false); this.writeTo(person); });
        }
        row.dataset.user = person.id;
        row.append(avatar(person, person.status), who);
        if (this.me?.role === 'admin' && !isMe) {
            const kick = element('button', 'kick', 'Remove');
            kick.setAttribute('aria-label', `Remove ${person.username} from the room`);
            kick.addEventListener('click', () => this.onKick(person));
            row.append(kick);
        }
        return row;
    }

    showGone (userId) {
        const person = this.people.find(({ id }) => id === userId);
        if (person) this.notice(`${person.username} was removed by an admin`);
    }

    showKicked (reason) {
        this.showPeople([]);
        byId('kicked-reason').textContent = reason;
        byId('kicked').hidden = false;
        byId('rejoin').focus();
    }

    // ---- messages ----

    showWelcome ({ messages }) {
        messages.forEach((message) => this.addMessage(message));
    }

    addMessage (message, to = null) {
        // The history comes again after a reconnect.
        if (this.seen.has(message.id)) return;
        this.seen.add(message.id);
        this.showTyping(message.from, false);
        const list = byId('messages');
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
        const mine = message.from.id === this.me.id;
        const day = dayName(message.at);
        if (this.last && dayName(this.last.at) !== day) this.notice(day);
        const grouped = this.last && !to && !this.last.to && this.last.from.id === message.from.id && message.at - this.last.at < GROUP_WITHIN;
        this.last = { ...message, to };

        const row = element('li', `message${grouped ? '' : ' first'}${mine ? ' mine' : ''}${to ? ' private' : ''}`);
        const meta = element('p', 'meta');
        meta.append(element('strong', '', message.from.username));
        if (to) meta.append(element('span', 'tag', mine ? `privately to ${to.username} ` : 'privately to you '));
        const time = element('time', '', clock(message.at));
        time.dateTime = new Date(message.at).toISOString();
        meta.append(time);
        row.append(avatar(message.from), meta, element('p', 'body', message.text));
        list.append(row);
        if (atEnd || mine) list.scrollTop = list.scrollHeight;
    }

    notice (text) {
        byId('messages').append(element('li', 'notice', text));
        this.last = null;
    }

    // ---- typing ----

    showTyping (who, isTyping) {
        clearTimeout(this.typists.get(who.id)?.timer);
        this.typists.delete(who.id);
        if (isTyping) {
            const timer = setTimeout(() => { this.typists.delete(who.id); this.renderTyping(); }, TYPING_EXPIRES);
            this.typists.set(who.id, { name: who.username, timer });
        }
        this.renderTyping();
    }

    renderTyping () {
        const names = [...this.typists.values()].map(({ name }) => name);
        const text = names.length > 2 ? `${names.length} people are typing …` : names.length ? `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing …` : '';
        byId('typing').textContent = text;
    }

    // ---- writing ----

    wireComposer () {
        const text = byId('text');
        text.addEventListener('input', () => { this.measure(); this.noteTyping(); });
        text.addEventListener('keydown', (event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
                event.preventDefault();
                byId('composer').requestSubmit();
            }
        });
        byId('composer').addEventListener('submit', (event) => {
            event.preventDefault();
            this.stopTyping();
            this.onSend(text.value, this.target?.id);
            // What the server would refuse stays, to be mended.
            const length = [...text.value.trim()].length;
            if (length > 0 && length <= MAX_TEXT) text.value = '';
            this.measure();
            text.focus();
        });
        byId('private-end').addEventListener('click', () => this.writeTo(null));
    }

    measure () {
        const text = byId('text');
        text.style.height = 'auto';
        text.style.height = `${text.scrollHeight}px`;
        const length = [...text.value].length;
        const counter = byId('length');
        counter.hidden = length < MAX_TEXT * 0.8;
        counter.textContent = `${length}/${MAX_TEXT}`;
        counter.classList.toggle('over', length > MAX_TEXT);
    }

    noteTyping () {
        if (this.target) return;
        clearTimeout(this.typingEnds);
        if (!byId('text').value) return this.stopTyping();
        if (!this.isTyping || Date.now() - this.isTyping > TYPING_PAUSE) {
            this.isTyping = Date.now();
            this.onTyping(true);
        }
        this.typingEnds = setTimeout(() => this.stopTyping(), TYPING_PAUSE);
    }

    stopTyping () {
        clearTimeout(this.typingEnds);
        if (this.isTyping) this.onTyping(false);
        this.isTyping = 0;
    }

    writeTo (person) {
        this.target = person;
        byId('private').hidden = !person;
        byId('private-name').textContent = person ? `Privately to ${person.username}` : '';
        byId('text').placeholder = person ? `Write to ${person.username}` : 'Write a message';
        if (person) byId('text').focus();
    }

    toast (text) {
        const toast = element('p', 'toast', text);
        byId('toasts').append(toast);
        setTimeout(() => toast.remove(), 5000);
    }

    // ---- light and dark ----

    wireTheme () {
        const dark = matchMedia('(prefers-color-scheme: dark)');
        const show = (theme) => { document.documentElement.dataset.theme = theme; };
        const chosen = () => localStorage.getItem('theme');
        show(chosen() ?? (dark.matches ? 'dark' : 'light'));
        dark.addEventListener('change', () => { if (!chosen()) show(dark.matches ? 'dark' : 'light'); });
        byId('theme').addEventListener('click', () => {
            const theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
            localStorage.setItem('theme', theme);
            show(theme);
        });
    }
}
