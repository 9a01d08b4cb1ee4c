// The user of this tab, kept in the session storage.

const KEY = 'pond-chat';

const stored = () => JSON.parse(sessionStorage.getItem(KEY));

/** A refusal by the server, with its message. */
export class Refused extends Error {}

/** Signs in. Returns `{ token, user }`. */
export async function signIn (username, adminCode) {
    const response = await fetch('/api/login', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ username, adminCode }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Refused(answer.message);
    sessionStorage.setItem(KEY, JSON.stringify({ ...answer, adminCode }));
    return answer;
}

/** Signs in again with the same name. */
export function again () {
    const { user, adminCode } = stored();
    return signIn(user.username, adminCode);
}

/** The user of this tab, or `null`. Signs in again if the server does not know the token any more. */
export async function resume () {
    const session = stored();
    if (!session) return null;
    try {
        return (await isKnown(session.token)) ? session : await again();
    } catch {
        return null;
    }
}

/** Returns whether the server knows a token. Fails if the server does not answer. */
export async function isKnown (token) {
    const response = await fetch('/api/me', { headers: { Authorization: `Bearer ${token}` } });
    return response.ok;
}

export function forget () {
    sessionStorage.removeItem(KEY);
}
