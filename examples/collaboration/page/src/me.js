// The name of this user, kept in the session storage.

const KEY = 'pond-collaboration';
const COLOURS = ['Amber', 'Blue', 'Coral', 'Golden', 'Green', 'Ivory', 'Olive', 'Rosy', 'Silver', 'Violet'];
const ANIMALS = ['Carp', 'Dragonfly', 'Duck', 'Frog', 'Heron', 'Kingfisher', 'Newt', 'Otter', 'Swan', 'Turtle'];

const pick = (words) => words[Math.floor(Math.random() * words.length)];

/** The name may be part of the address: `?name=Ada`. */
export function me () {
    const asked = new URLSearchParams(location.search).get('name')?.trim().slice(0, 24);
    const name = asked || sessionStorage.getItem(KEY) || `${pick(COLOURS)} ${pick(ANIMALS)}`;
    sessionStorage.setItem(KEY, name);
    return name;
}
