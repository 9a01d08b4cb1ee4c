// The page: connects the user (session.js) and the server (chat.js) with the views (view/).

import { Chat } from './chat.js';
import * as session from './session.js';
import { Composer } from './view/composer.js';
import { showConnection } from '@page/connection.js';
import { Kicked } from './view/kicked.js';
import { Me } from './view/me.js';
import { Messages } from './view/messages.js';
import { People } from './view/people.js';
import { Rooms, chosenRoom } from './view/rooms.js';
import { Sidebar } from './view/sidebar.js';
import { SignIn } from './view/sign-in.js';
import { wireTheme } from '@page/theme.js';
import { toast } from '@page/toasts.js';
import { Typists } from '@page/typists.js';

let chat = null;

wireTheme();
const sidebar = new Sidebar();
const rooms = new Rooms();
const messages = new Messages();
const typists = new Typists();
const me = new Me({ status: (status) => chat.setStatus(status), signOut });
const people = new People({ whisper: (person) => { sidebar.close(); composer.writeTo(person); }, kick: (person) => chat.kick(person.id) });
const composer = new Composer({ send: (text, to) => chat.say(text, to), typing: (isTyping) => chat.typing(isTyping) });
const kicked = new Kicked({ rejoin: () => { kicked.reset(); chat.join(); } });
const signIn = new SignIn({ signIn: async (...answers) => start(await session.signIn(...answers)) });

/** The reactions to the events of the chat. */
const on = {
    connection: showConnection,
    welcome: () => composer.focus(),
    gap: () => messages.notice('Some messages are missing here'),
    message: (message) => { typists.set(message.from, false); messages.add(message); },
    waiting: (texts) => messages.wait(texts),
    people: (present) => { people.show(present); me.show(present); typists.keep(present); composer.keep(present); },
    typing: ({ user, isTyping }) => typists.set({ id: user.id, name: user.username }, isTyping),
    removed: (userId) => messages.notice(`${people.nameOf(userId)} was removed from the room`),
    kicked: (reason) => { people.reset(); kicked.show(reason); },
    problem: toast,

    // A restarted server knows no tokens, so the page signs in again with the same name.
    async unknown () {
        try {
            const { token, user } = await session.again();
            meet(user);
            chat.connect(token);
        } catch (error) {
            if (error instanceof session.Refused) signOut();
            else throw error;
        }
    },
};

const known = await session.resume();
if (known) start(known);
else signIn.show();

function start ({ token, user }) {
    signIn.hide();
    meet(user);
    chat = new Chat(token, on);
    enter();
    chat.open(chosenRoom());
    addEventListener('hashchange', () => { sidebar.close(); enter(); chat.open(chosenRoom()); });
}

function meet (user) {
    for (const part of [me, people, messages]) part.meet(user);
}

/** Clears the screen for the chosen room. */
function enter () {
    rooms.show(chosenRoom());
    for (const part of [people, messages, typists, composer, kicked]) part.reset();
}

function signOut () {
    session.forget();
    chat.close();
    location.reload();
}
