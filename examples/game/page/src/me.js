// Who we are, kept for this tab: two tabs are two players, and a reload goes on with the same fish.

const KEY = 'pond-game';
const COLOURS = ['Amber', 'Azure', 'Coral', 'Golden', 'Ivory', 'Olive', 'Rosy', 'Silver', 'Violet'];
const FISH = ['Barbel', 'Bream', 'Carp', 'Dace', 'Koi', 'Perch', 'Pike', 'Roach', 'Tench', 'Trout'];

const pick = (words) => words[Math.floor(Math.random() * words.length)];
const stored = () => JSON.parse(sessionStorage.getItem(KEY)) ?? {};

/** The name of before, or one that nobody has chosen. */
export function name () {
    return stored().name ?? `${pick(COLOURS)} ${pick(FISH)}`;
}

export function setName (name) {
    sessionStorage.setItem(KEY, JSON.stringify({ ...stored(), name }));
}

/** The secret by which the server knows us again. */
export function myToken () {
    const token = stored().token ?? crypto.randomUUID();
    sessionStorage.setItem(KEY, JSON.stringify({ ...stored(), token }));
    return token;
}
