// The page: joins the launcher (nodes.js) and the lobby (pond.js) to what is on the screen (view/).

import { me as whoAmI } from './me.js';
import { Nodes } from './nodes.js';
import { Pond } from './pond.js';
import { wireComposer } from './view/composer.js';
import { showNode } from './view/connection.js';
import { Messages } from './view/messages.js';
import { NodeCards } from './view/nodes.js';
import { People } from './view/people.js';
import { wireTheme } from '@page/theme.js';

const me = whoAmI();
const messages = new Messages(me);
const people = new People(me, (...parts) => messages.notice(...parts));
const cards = new NodeCards({ kill: (name) => nodes.kill(name), start: (name) => nodes.start(name) });
const nodes = new Nodes((shown) => cards.show(shown));
const pond = new Pond(me, () => nodes.next(), {
    node: (name) => { showNode(name); cards.serves(name); if (!name) nodes.look(); },
    people: (present) => { people.show(present); cards.present(present); },
    message: (message) => messages.add(message),
    unheard: (texts) => messages.unheard(texts),
});

wireTheme();
wireComposer((text) => pond.say(text));
pond.stay();
