// The page: who signs in, which room is open, and what the server says goes to the view.

import { Chat } from './chat.js';
import * as session from './session.js';
import { View } from './view.js';

const ROOMS = [{ id: 'general', name: 'General' }, { id: 'random', name: 'Random' }, { id: 'support', name: 'Support' }];

const view = new View(ROOMS);
let chat = null;

view.onSignIn = async (username, adminCode) => {
    try {
        start(await session.signIn(username, adminCode));
    } catch (error) {
        view.showSignInError(error.message);
    }
};
view.onSignOut = () => {
    session.forget();
    chat?.close();
    location.reload();
};
view.onRoom = (room) => chat.open(room);
view.onSend = (text, to) => (to ? chat.whisper(to, text) : chat.say(text));
view.onTyping = (isTyping) => chat.typing(isTyping);
view.onStatus = (status) => chat.status(status);
view.onKick = (user) => chat.kick(user.id);
view.onRejoin = () => chat.rejoin();

function start ({ token, user }) {
    const room = chat?.room ?? ROOMS[0].id;
    chat?.close();
    view.showChat(user);
    chat = new Chat(token, {
        connection: (state) => view.showConnection(state),
        room: (id) => view.showRoom(id),
        welcome: (welcome) => view.showWelcome(welcome),
        message: (message) => view.addMessage(message),
        private: (message) => view.addMessage(message, message.to),
        people: (people) => view.showPeople(people),
        typing: (who, isTyping) => view.showTyping(who, isTyping),
        kicked: (reason) => view.showKicked(reason),
        gone: (userId) => view.showGone(userId),
        problem: (problem) => view.toast(problem.message),
        // The server has forgotten us, as it does when it is started anew: sign in again, with the same name.
        unknown: async () => start(await session.again()),
    });
    chat.open(room);
}

const known = await session.resume();
if (known) start(known);
else view.showSignIn();
