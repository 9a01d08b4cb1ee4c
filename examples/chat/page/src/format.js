// How things are written.

const time = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat([], { weekday: 'long', day: 'numeric', month: 'long' });

export const clock = (at) => time.format(at);
export const dayName = (at) => day.format(at);

/** One or two letters for a name. */
export function initials (name) {
    const words = name.trim().split(/\s+/).slice(0, 2);
    return words.map((word) => [...word][0].toUpperCase()).join('');
}

/** A colour that somebody keeps. */
export function hue (id) {
    let sum = 0;
    for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) % 65521;
    // The golden angle keeps neighbours apart.
    return Math.round(sum * 137.508) % 360;
}
