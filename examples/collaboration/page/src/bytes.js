// Bytes as base64, for JSON.

/** The bytes for one call, since the number of arguments is limited. */
const PIECE = 0x8000;

export function toBase64 (bytes) {
    let text = '';
    for (let at = 0; at < bytes.length; at += PIECE) text += String.fromCharCode(...bytes.subarray(at, at + PIECE));
    return btoa(text);
}

export function fromBase64 (text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
