// The count of the messages that the page has received from all nodes, by their positions.

export class Tally {
    received = 0;
    missing = 0;
    repeated = 0;
    /** The position of the last message: the epoch and the offset of the channel's history. */
    #epoch = null;
    #offset = 0;

    note (position) {
        const [epoch, digits] = position.split('.');
        const offset = Number(digits);
        if (epoch === this.#epoch && offset <= this.#offset) {
            this.repeated++;
            return;
        }
        if (epoch === this.#epoch) this.missing += offset - this.#offset - 1;
        this.received++;
        this.#epoch = epoch;
        this.#offset = offset;
    }

    /** The page was told that it cannot get all: the next position may be any. */
    skip () {
        this.#epoch = null;
    }
}
