// The server without its page: its answers to clients that do not behave like the page.

/** Joins over another socket, sends messages `[event, payload]`, and returns their answers `{ event, payload }`, or the decline. */
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
            // Messages are handled in order: those before the last one that have no answer now get none.
            if (requestId !== String(messages.length - 1)) return;
            socket.close();
            resolve(messages.map((_, number) => answers.get(String(number))));
        };
        setTimeout(() => reject(new Error(`the last message was not answered`)), 10_000);
    }), { document, messages });
}
