// The page: connects the server (link.js) with the views (view/).

import { byId } from '@page/dom.js';
import { showConnection } from '@page/connection.js';
import { wireTheme } from '@page/theme.js';
import { Link } from './link.js';
import { EventCard } from './view/event-card.js';
import { log } from './view/log.js';
import { showStats } from './view/stats.js';

const FLOOD = 300;

wireTheme();
const cards = [...document.querySelectorAll('.event')].map((root) => new EventCard(root, send));
const link = new Link({
    connection: showConnection,
    welcome: (limits) => { for (const card of cards) card.limit(limits[card.event]); },
    stats: showStats,
});
byId('flood').addEventListener('click', () => { for (let sent = 0; sent < FLOOD; sent++) link.send('ping'); });

function send (card, times) {
    for (let sent = 0; sent < times; sent++) {
        link.ask(card.event).then(({ answer, took }) => {
            card.answered(answer);
            log(card.event, answer, took);
        });
    }
}
