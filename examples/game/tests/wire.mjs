// The game without the page: what the server says to a client of its own.

/**
 * Joins as a client of its own, in the window of a player; sends `steer`, so many `times`; and gives all messages
 * that came until each of the events in `until` was among them.
 */
export function join (player, { name, steer, times = 1, until }) {
    return player.page.evaluate(({ name, steer, times, until }) => new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/api/socket?name=${name}&token=${crypto.randomUUID()}`);
        const send = (action, event, payload) => socket.send(JSON.stringify({ action, event, channelName: '/pond', requestId: event, payload }));
        const got = [];
        socket.onmessage = ({ data }) => {
            const message = JSON.parse(data);
            if (message.event === 'CONNECTION') send('JOIN_CHANNEL', 'JOIN_CHANNEL', {});
            if (message.event === 'welcome') for (let time = 0; time < times; time++) send('BROADCAST', 'steer', steer);
            got.push(message);
            if (until.some((event) => !got.some((message) => message.event === event))) return;
            socket.close();
            resolve(got);
        };
        setTimeout(() => reject(new Error(`not all of ${until} came`)), 10_000);
    }), { name, steer, times, until });
}
