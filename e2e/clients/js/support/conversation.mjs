// What the frames of one connection must look like in sequence. Told all that was sent and received, it throws at the
// first frame that has no place where it stands.

export class Conversation {
    #asked = new Map();          // request id -> the message that was sent
    #seen = new Set();           // every request id that the server made up
    #joined = new Set();         // channels between their ACKNOWLEDGE and their end
    #greeted = false;

    sent (message) { this.#asked.set(message.requestId, message); }

    received (message) {
        const rule = (holds, words) => { if (!holds) throw new Error(`${words}: ${JSON.stringify(message).slice(0, 300)}`); };
        const { action, event, channelName, requestId } = message;
        const question = this.#asked.get(requestId);

        if (!this.#greeted) {
            rule(action === 'CONNECT' && event === 'CONNECTION', 'the first frame is CONNECTION');
            rule(typeof message.payload.connectionId === 'string' && message.payload.connectionId, 'CONNECTION has a connectionId');
            this.#greeted = true;
            return;
        }
        rule(action !== 'CONNECT', 'CONNECTION is sent once');

        if (question) {
            rule(channelName === (question.channelName ?? 'GATEWAY'), 'an answer names the channel of its question, letter for letter');
        } else {
            rule(!this.#seen.has(requestId), 'a request id of the server is fresh');
            this.#seen.add(requestId);
        }
        if (action === 'BROADCAST' || action === 'PRESENCE') {
            rule(!question, `a ${action} does not carry the id of a request`);
            rule(this.#joined.has(channelName), `a ${action} comes between the ACKNOWLEDGE and the end of its channel`);
        }
        switch (action === 'SYSTEM' && event) {
            case 'ACKNOWLEDGE':
                rule(question?.action === 'JOIN_CHANNEL', 'ACKNOWLEDGE answers a join');
                this.#joined.add(channelName);
                break;
            case 'UNAUTHORIZED':
                rule(question?.action === 'JOIN_CHANNEL', 'UNAUTHORIZED answers a join');
                break;
            case 'EXIT_ACKNOWLEDGE':
                rule(question?.action === 'LEAVE_CHANNEL', 'EXIT_ACKNOWLEDGE answers a leave');
                this.#joined.delete(channelName);
                break;
            case 'EVICTED':
                rule(this.#joined.delete(channelName), 'EVICTED ends a membership');
                break;
        }
    }
}
