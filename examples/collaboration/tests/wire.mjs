// The server without the page: what it answers to clients that do not behave as the page does.

/** Joins on a socket of its own, sends messages `[event, payload]`, and gives their answers `{ event, payload }`; or why it may not join. */
export function ask (writer, document, messages) {
    return writer.page.evaluate(({ document, messages }) => new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/api/socket?name=Wire`);
        const send = (action, event, requestId, payload) => socket.send(JSON.stringify({ action, event, channelName: `/documents/${document}`, requestId, payload }));
        const answers = new Map();
        socket.onmessage = ({ data }) => {
            const { action, event, requestId, payload } = JSON.parse(data);
            if (event === 'CONNECTION') send('JOIN_CHANNEL', 'JOIN_CHANNEL', 'entering', {});
            if (event === 'UNAUTHORIZED') { socket.close(); resolve([{ event, payload }]); }
            if (event === 'welcome') messages.forEach(([name, payload], number) => send('BROADCAST', name, String(number), payload));
            if (action === 'SYSTEM' && messages[requestId]) answers.set(requestId, { event, payload });
            // They are handled in their order: whatever has no answer now gets none.
            if (requestId !== String(messages.length - 1)) return;
            socket.close();
            resolve(messages.map((_, number) => answers.get(String(number))));
        };
        setTimeout(() => reject(new Error(`the last message was not answered`)), 10_000);
    }), { document, messages });
}
