// A node without the page.

/** Joins the channel over another socket in the window of a user, at this address. Returns the event and code of the answer. */
export function join (person, url) {
    return person.page.evaluate((url) => new Promise((resolve, reject) => {
        const socket = new WebSocket(url);
        socket.onmessage = ({ data }) => {
            const { event, requestId, payload } = JSON.parse(data);
            if (event === 'CONNECTION') socket.send(JSON.stringify({ action: 'JOIN_CHANNEL', event: 'JOIN_CHANNEL', channelName: '/pond', requestId: 'join', payload: {} }));
            if (requestId !== 'join') return;
            socket.close();
            resolve([event, payload.code ?? payload.statusCode]);
        };
        socket.onerror = () => reject(new Error('no connection'));
        setTimeout(() => reject(new Error('no answer')), 10_000);
    }), url);
}
