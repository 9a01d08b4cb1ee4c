// Who we are, kept for this tab: two tabs can be two people.

const KEY = 'pond-chat';

const stored = () => JSON.parse(sessionStorage.getItem(KEY));

/** The server says no; its message says why. */
export class Refused extends Error {}

/** Signs in. The answer is `{ token, user }`. */
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

/** Signs in with the name of before. */
export function again () {
    const { user, adminCode } = stored();
    return signIn(user.username, adminCode);
}

/** Who this tab is, or `null`. If the server does not know it any more, it signs in again. */
export async function resume () {
    const session = stored();
    if (!session) return null;
    try {
        return (await isKnown(session.token)) ? session : await again();
    } catch {
        return null;
    }
}

/** Whether the server knows a token. Fails if the server does not answer. */
export async function isKnown (token) {
    const response = await fetch('/api/me', { headers: { Authorization: `Bearer ${token}` } });
    return response.ok;
}

export function forget () {
    sessionStorage.removeItem(KEY);
}
