// The server without the page: what it answers to clients that do not behave as the page does.

/**
 * Joins a room on a socket of its own, as the person whose window it is, sends messages `[event, payload]` and gives
 * their answers `{ event, payload }`, in the same order.
 */
export function ask (person, room, messages) {
    return person.page.evaluate(({ room, messages }) => new Promise((resolve, reject) => {
        const { token } = JSON.parse(sessionStorage.getItem('pond-chat'));
        const socket = new WebSocket(`ws://${location.host}/api/socket?token=${token}`);
        const send = (action, event, requestId, payload) => socket.send(JSON.stringify({ action, event, channelName: `/chat/${room}`, requestId, payload }));
        const answers = new Map();
        socket.onmessage = ({ data }) => {
            const { action, event, requestId, payload } = JSON.parse(data);
            if (event === 'CONNECTION') send('JOIN_CHANNEL', 'JOIN_CHANNEL', 'entering', {});
            if (event === 'ACKNOWLEDGE') messages.forEach(([name, payload], number) => send('BROADCAST', name, String(number), payload));
            if (action === 'SYSTEM' && messages[requestId]) answers.set(requestId, { event, payload });
            if (answers.size < messages.length) return;
            socket.close();
            resolve(messages.map((_, number) => answers.get(String(number))));
        };
        setTimeout(() => reject(new Error(`only ${answers.size} of ${messages.length} answers came`)), 10_000);
    }), { room, messages });
}

/** Opens a socket of the person's own. The answer waits for its end and gives the close code. */
export async function whenClosed (person) {
    await person.page.evaluate(() => new Promise((resolve) => {
        const { token } = JSON.parse(sessionStorage.getItem('pond-chat'));
        const socket = new WebSocket(`ws://${location.host}/api/socket?token=${token}`);
        window.closeCode = new Promise((resolve) => { socket.onclose = ({ code }) => resolve(code); });
        socket.onmessage = () => resolve();
    }));
    return () => person.page.evaluate(() => window.closeCode);
}

/** The status and message that a sign-in is answered with. */
export async function signIn (url, request) {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(request) };
    const response = await fetch(new URL('/api/login', url), options);
    return [response.status, (await response.json()).message];
}
