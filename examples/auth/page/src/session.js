// The issuer, over HTTP: who gets a token, and why one is refused.

/** The server says no: `status`, `reason` and the message say why. */
export class Refused extends Error {
    constructor (status, { reason, message }) {
        super(message);
        this.status = status;
        this.reason = reason;
    }
}

/** A token for an account. */
export const signIn = async (account) => (await ask('/api/login', { method: 'POST', body: { account } })).token;

/** A new token for one that is still valid. */
export const renew = async (token) => (await ask('/api/renew', { method: 'POST', token })).token;

/** What a token says: `{ id, name, role, expiresAt, rooms }`. Fails with `Refused`; with another error if nobody answers. */
export const describe = (token) => ask('/api/token', { token });

/** A token whose owner has made an admin of themselves, under the signature that it had. */
export function forge (token) {
    const [head, claims, signature] = token.split('.');
    const said = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
    const changed = btoa(JSON.stringify({ ...said, role: 'admin' })).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    return [head, changed, signature].join('.');
}

async function ask (path, { method = 'GET', token, body } = {}) {
    const headers = { 'Content-Type': 'application/json' };
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const said = await answer.json();
    if (!answer.ok) throw new Refused(answer.status, said);
    return said;
}
