// The game without its page: the messages that the server sends to any client.

/**
 * Joins over a socket of its own in the window of a player, sends `steer` `times` times, and returns the messages
 * received until each event in `until` is among them.
 */
export function join (player, { name, steer, times = 1, until }) {
    return player.page.evaluate(({ name, steer, times, until }) => new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/api/socket?name=${name}&token=${crypto.randomUUID()}`);
        const send = (action, event, payload) => socket.send(JSON.stringify({ action, event, channelName: '/pond', requestId: event, payload }));
        const received = [];
        socket.onmessage = ({ data }) => {
            const message = JSON.parse(data);
            if (message.event === 'CONNECTION') send('JOIN_CHANNEL', 'JOIN_CHANNEL', {});
            if (message.event === 'welcome') for (let time = 0; time < times; time++) send('BROADCAST', 'steer', steer);
            received.push(message);
            if (until.some((event) => !received.some((message) => message.event === event))) return;
            socket.close();
            resolve(received);
        };
        setTimeout(() => reject(new Error(`not all of ${until} were received`)), 10_000);
    }), { name, steer, times, until });
}
