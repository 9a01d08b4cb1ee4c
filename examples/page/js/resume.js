// Lets a channel of the published client resume: after a reconnect it gets exactly what it missed, once and in order, if the
// server keeps a history of the channel with a stamp (docs/nothing-lost.md). This file depends on nothing: copy it.
//
//     const resume = new Resume({ name: 'ada' }, { onGap: (reason) => reload(reason) });
//     const room = client.createChannel('/chat/1', resume.params);
//     room.onMessage(resume.messages((event, payload) => show(event, payload)));

/** No position, which the server answers with a gap: something is missing, and nothing of what follows has arrived yet. */
const UNKNOWN = 'unknown';

export class Resume {
    #stamp; #onGap;

    /**
     * `onGap` is called before the first message behind a gap, with the reason: `trimmed`, `expired`, `epoch`, `ahead`,
     * `too_many` or `unproven`. `stamp` is the key that the server puts the position under.
     */
    constructor (params = {}, { stamp = '_pos', onGap = () => {} } = {}) {
        /** The parameters of the join. The client sends this object at each join, so that it must not be copied. */
        this.params = { ...params, $resume: '' };
        this.#stamp = stamp;
        this.#onGap = onGap;
    }

    /** Wraps the callback of `onMessage`. It does not get repeats. */
    messages (handle) {
        return (event, payload) => {
            const position = payload[this.#stamp];
            if (typeof position === 'string') {
                if (isUpTo(position, this.params.$resume)) return;
                this.params.$resume = position;
            } else if (event === 'ACKNOWLEDGE' && payload.position) this.#acknowledged(payload);
            else if (event === 'RESYNC' && payload.position && payload.gap) {
                // Messages up to this position are missing, because they were read too slowly.
                this.params.$resume = payload.position;
                this.#onGap(payload.gap);
                return;
            }
            handle(event, payload);
        };
    }

    #acknowledged ({ position, recovered, gap, missed, replayed }) {
        // The messages that follow bring their own positions: should they not arrive, they are still missed.
        if (!missed && !replayed) this.params.$resume = position;
        // They do not continue what was received before: nothing of them is a repeat.
        else if (!recovered) this.params.$resume = gap ? UNKNOWN : '';
        if (gap) this.#onGap(gap);
    }
}

/** Returns whether a position is not behind another one. Those of different epochs cannot be compared. */
function isUpTo (position, other) {
    const [[epoch, offset], [otherEpoch, otherOffset]] = [position.split('.'), other.split('.')];
    return epoch === otherEpoch && Number(offset) <= Number(otherOffset);
}
