// The server without its page.

/** A token for an account, or the status of a refusal. */
export async function signIn (url, account) {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(`${url}/api/login`, { method: 'POST', headers, body: JSON.stringify({ account }) });
    return answer.ok ? (await answer.json()).token : answer.status;
}

/** The answer to a token: `[status, reason]`. */
export async function check (url, token) {
    const answer = await fetch(`${url}/api/token`, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    return [answer.status, (await answer.json()).reason];
}

/** A token with changed claims and its former signature. */
export function changed (token, claims) {
    const [head, body, signature] = token.split('.');
    const all = { ...JSON.parse(Buffer.from(body, 'base64url')), ...claims };
    return [head, Buffer.from(JSON.stringify(all)).toString('base64url'), signature].join('.');
}

/**
 * Joins a room over another socket of the page's browser, and sends messages `[event, payload]`. Returns their answers;
 * with `toEnd` after the server has closed the socket: `{ joined, answers, code, lasted }`.
 */
export function talk (page, token, room, messages, toEnd = false) {
    return page.evaluate(({ token, room, messages, toEnd }) => new Promise((resolve) => {
        const socket = new WebSocket(`ws://${location.host}/api/socket?token=${token}`);
        const since = Date.now();
        const send = (action, event, requestId, payload) => socket.send(JSON.stringify({ action, event, channelName: `/rooms/${room}`, requestId, payload }));
        const result = { joined: null, answers: [] };
        const done = (code) => resolve({ ...result, code, lasted: Date.now() - since });
        socket.onclose = ({ code }) => done(code);
        socket.onmessage = ({ data }) => {
            const { action, event, requestId, payload } = JSON.parse(data);
            if (event === 'CONNECTION') send('JOIN_CHANNEL', 'JOIN_CHANNEL', 'join', {});
            if (requestId === 'join' && (event === 'ACKNOWLEDGE' || event === 'UNAUTHORIZED')) {
                result.joined = event === 'ACKNOWLEDGE' ? 200 : payload.code;
                messages.forEach(([name, payload], number) => send('BROADCAST', name, `m${number}`, payload));
            }
            if (action === 'SYSTEM' && /^m\d+$/.test(requestId)) result.answers.push([event, payload.code, payload.details?.reason].filter(Boolean).join(' '));
            if (result.joined && result.answers.length === messages.length && !toEnd) { socket.onclose = null; socket.close(); done(); }
        };
    }), { token, room, messages, toEnd });
}
