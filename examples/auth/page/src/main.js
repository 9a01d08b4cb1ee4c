// The page: connects the issuer (session.js) and the rooms (link.js) with the views (view/).

import { byId } from '@page/dom.js';
import { showConnection } from '@page/connection.js';
import { wireTheme } from '@page/theme.js';
import { toast } from '@page/toasts.js';
import { Link } from './link.js';
import * as session from './session.js';
import { Room } from './view/room.js';
import { Rooms } from './view/rooms.js';
import { showRefused } from './view/refused.js';
import { Screen } from './view/screen.js';
import { Token } from './view/token.js';

let link = null;
let me = null;

wireTheme();
const screen = new Screen(['sign-in', 'refused', 'app']);
const rooms = new Rooms((room) => { roomView.enter(room, me); link?.open(room); });
const roomView = new Room((text) => link.say(text));
const tokenView = new Token({ renew, signOut });

for (const button of document.querySelectorAll('[data-account]')) {
    button.addEventListener('click', () => attempt(async () => enter(await session.signIn(button.dataset.account))));
}
byId('forge').addEventListener('click', () => attempt(async () => enter(session.forge(await session.signIn('gus')))));
byId('nothing').addEventListener('click', () => attempt(() => enter('')));
byId('back').addEventListener('click', () => screen.show('sign-in'));
screen.show('sign-in');

const on = {
    connection: showConnection,
    welcome: (welcome) => roomView.welcome(welcome),
    people: (people) => roomView.people(people),
    message: (message) => roomView.message(message, me),
    declined: () => roomView.declined(me),
    problem: (problem) => (problem.details?.reason === 'expired' ? refuse(problem.code, problem) : toast(`${problem.code}: ${problem.message}`)),

    /** Returns whether a reconnect may succeed. */
    async lost () {
        try {
            await session.describe(link?.token);
        } catch (error) {
            if (error instanceof session.Refused) {
                refuse(error.status, error);
                return false;
            }
            // The server does not answer.
        }
        return true;
    },
};

async function enter (token) {
    me = await session.describe(token);
    screen.show('app');
    rooms.show(me.rooms);
    roomView.enter(rooms.chosen(), me);
    tokenView.show(me);
    link = new Link(token, on);
    link.open(rooms.chosen());
}

async function renew () {
    await attempt(async () => {
        const token = await session.renew(link.token);
        if (await link.renew(token)) tokenView.renewed(me = await session.describe(token));
    });
}

/** Executes an action that the server may refuse. */
async function attempt (what) {
    try {
        await what();
    } catch (error) {
        if (!(error instanceof session.Refused)) toast('The server does not answer.');
        else refuse(error.status, error);
    }
}

function refuse (status, why) {
    leave();
    showRefused(status, why.reason ?? why.details?.reason, why.message);
    screen.show('refused');
}

function signOut () {
    leave();
    screen.show('sign-in');
}

function leave () {
    link?.close();
    link = null;
    tokenView.stop();
}
