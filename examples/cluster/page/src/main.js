// The page: connects the launcher (nodes.js) and the channel (pond.js) with the views (view/).

import { Nodes } from './nodes.js';
import { Pond } from './pond.js';
import { Composer } from './view/composer.js';
import { showNode, showTally } from './view/connection.js';
import { Messages } from './view/messages.js';
import { NodeCards } from './view/nodes.js';
import { People } from './view/people.js';
import { byId } from '@page/dom.js';
import { Me } from '@page/me.js';
import { wireStart } from '@page/start.js';
import { wireTheme } from '@page/theme.js';
import { Typists } from '@page/typists.js';

const me = new Me('pond-cluster', ['Carp', 'Dragonfly', 'Duck', 'Frog', 'Heron', 'Kingfisher', 'Newt', 'Otter', 'Swan', 'Turtle']);
const isMe = ({ id }) => id === me.name.toLowerCase();
const messages = new Messages(isMe);
const people = new People(isMe, (...parts) => messages.notice(...parts));
const typists = new Typists();
const cards = new NodeCards({ kill: (name) => nodes.kill(name), start: (name) => nodes.start(name) });
const nodes = new Nodes((shown) => { byId('nodes-section').hidden = nodes.isAlone; cards.show(shown); });
const pond = new Pond(me, () => nodes.next(), {
    node: (name) => { showNode(name); cards.serves(name); if (!name) nodes.look(); },
    people: (present) => { people.show(present); cards.present(present); typists.keep(present); },
    message: (message) => { typists.set(message.from, false); messages.add(message); },
    typing: (user, isTyping) => typists.set(user, isTyping),
    tally: showTally,
    unconfirmed: (texts) => messages.unconfirmed(texts),
    refused: () => ask('This name is in use. Choose another one.'),
});

wireTheme();
const composer = new Composer({ say: (text) => pond.say(text), typing: (isTyping) => pond.typing(isTyping) });
const ask = wireStart(me.name, (name) => {
    me.name = name;
    composer.focus();
    pond.stay();
});
