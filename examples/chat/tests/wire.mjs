// The server without its page: its answers to clients that do not behave like the page.

/**
 * Joins a room over another socket as the user of a window, sends messages `[event, payload]`, and returns their
 * answers `{ event, payload }` in the same order.
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
        setTimeout(() => reject(new Error(`only ${answers.size} of ${messages.length} answers were received`)), 10_000);
    }), { room, messages });
}

/** Opens another socket as the user of a window. Returns a function that waits for its close code. */
export async function whenClosed (person) {
    await person.page.evaluate(() => new Promise((resolve) => {
        const { token } = JSON.parse(sessionStorage.getItem('pond-chat'));
        const socket = new WebSocket(`ws://${location.host}/api/socket?token=${token}`);
        window.closeCode = new Promise((resolve) => { socket.onclose = ({ code }) => resolve(code); });
        socket.onmessage = () => resolve();
    }));
    return () => person.page.evaluate(() => window.closeCode);
}

/** The status and message of the answer to a sign-in. */
export async function signIn (url, request) {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(request) };
    const response = await fetch(new URL('/api/login', url), options);
    return [response.status, (await response.json()).message];
}
