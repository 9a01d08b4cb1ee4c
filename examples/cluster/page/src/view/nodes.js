// A card for each node: its state, its users, and a button that kills or starts it.

import { byId, element } from '@page/dom.js';

const SAID = { up: 'up', down: 'down', starting: 'starting…' };

export class NodeCards {
    cards = new Map();
    people = [];

    /** `on` has `kill` and `start`, which take a name and complete when the node has ended or is up. */
    constructor (on) {
        this.on = on;
    }

    /** Shows the nodes; `null` if their states are unknown. */
    show (nodes) {
        document.body.classList.toggle('stopped', !nodes);
        for (const node of nodes ?? []) {
            if (!this.cards.has(node.name)) this.add(node.name);
            this.cards.get(node.name).show(node);
        }
        this.count();
    }

    /** Marks the node that serves this page; `null` for none. */
    serves (name) {
        for (const [each, card] of this.cards) card.root.classList.toggle('serves', each === name);
        this.serving = name;
    }

    present (people) {
        this.people = people;
        this.count();
    }

    add (name) {
        const card = new Card(name, this.on);
        card.root.classList.toggle('serves', name === this.serving);
        this.cards.set(name, card);
        byId('nodes').append(card.root);
    }

    count () {
        for (const [name, card] of this.cards) card.count(this.people.filter(({ node }) => node === name).length);
    }
}

class Card {
    constructor (name, on) {
        this.name = name;
        this.on = on;
        this.how = element('p', 'node-how');
        this.crowd = element('p', 'node-crowd');
        this.button = element('button', 'node-button');
        this.button.type = 'button';
        this.button.addEventListener('click', () => this.pressed());
        const title = element('h3', 'node-name', name, element('span', 'yours', 'serves you'));
        this.root = element('li', 'node', element('div', 'node-text', title, this.how, this.crowd), this.button);
        this.root.dataset.node = name;
    }

    show ({ state, pid }) {
        this.state = state;
        this.root.dataset.state = state;
        this.how.textContent = pid ? `${SAID[state]}, process ${pid}` : SAID[state];
        const verb = state === 'up' ? 'Kill' : 'Start';
        this.button.textContent = verb;
        this.button.setAttribute('aria-label', `${verb} node ${this.name}`);
        this.button.disabled = state === 'starting' || Boolean(this.busy);
    }

    count (people) {
        this.crowd.textContent = people === 1 ? '1 person' : `${people} people`;
    }

    async pressed () {
        this.busy = this.button.disabled = true;
        await (this.state === 'up' ? this.on.kill(this.name) : this.on.start(this.name));
        this.busy = false;
        this.button.disabled = this.state === 'starting';
    }
}
