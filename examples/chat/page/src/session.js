// Who we are, kept for this tab.

const KEY = 'pond-chat';

const stored = () => JSON.parse(sessionStorage.getItem(KEY) ?? 'null');

/** Signs in; the answer is `{ token, user }`. */
export async function signIn (username, adminCode) {
    const response = await fetch('/api/login', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ username, admin_code: adminCode }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.message);
    sessionStorage.setItem(KEY, JSON.stringify({ ...answer, adminCode }));
    return answer;
}

/** The session of this tab, if the server still knows it or lets us sign in again. */
export async function resume () {
    const session = stored();
    if (!session) return null;
    return (await isKnown(session.token)) ? session : again();
}

/** Signs in with the name of before. */
export function again () {
    const { user, adminCode } = stored();
    return signIn(user.username, adminCode);
}

/** Whether the server knows a token. Fails if the server does not answer. */
export async function isKnown (token) {
    const response = await fetch(`/api/me?token=${encodeURIComponent(token)}`);
    return response.ok;
}

export function forget () {
    sessionStorage.removeItem(KEY);
}
