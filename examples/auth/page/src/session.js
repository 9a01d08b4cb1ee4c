// The issuer of tokens, over HTTP.

/** A refusal by the server, with its `status`, `reason` and message. */
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

/** The content of a token: `{ id, name, role, expiresAt, rooms }`. Fails with `Refused`, or with another error without an answer. */
export const describe = (token) => ask('/api/token', { token });

/** A token whose role was changed to admin, with its former signature. */
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
