// The outcome of a request.

/** `done`, `refused` by a limit, or `failed`. */
export function outcomeOf ({ code }) {
    if (!code) return 'done';
    return code === 429 ? 'refused' : 'failed';
}

/** The outcome as a text. */
export function textOf ({ code, message, details }) {
    if (!code) return 'done';
    if (code === 429) return `${message}: again in ${(details.retryAfterMs / 1000).toFixed(1)} s`;
    return details?.incident ? `${message}: incident ${details.incident}` : message;
}
