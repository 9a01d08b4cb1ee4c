// Who we are, kept for this tab: two tabs are two people, and whoever moves to another node stays the same.

const KEY = 'pond-cluster';
const COLOURS = ['Amber', 'Blue', 'Coral', 'Golden', 'Green', 'Ivory', 'Olive', 'Rosy', 'Silver', 'Violet'];
const ANIMALS = ['Carp', 'Dragonfly', 'Duck', 'Frog', 'Heron', 'Kingfisher', 'Newt', 'Otter', 'Swan', 'Turtle'];

const pick = (words) => words[Math.floor(Math.random() * words.length)];

/** `{ id, name }`. The address may say the name, as `?name=Ada`. */
export function me () {
    const stored = JSON.parse(sessionStorage.getItem(KEY));
    const name = new URLSearchParams(location.search).get('name') || stored?.name || `${pick(COLOURS)} ${pick(ANIMALS)}`;
    const mine = { id: stored?.id ?? crypto.randomUUID(), name };
    sessionStorage.setItem(KEY, JSON.stringify(mine));
    return mine;
}
