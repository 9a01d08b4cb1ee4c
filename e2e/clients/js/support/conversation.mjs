// The rules for the sequence of frames of one connection. It is given all sent and received messages, and throws at the
// first frame that breaks the sequence.

export class Conversation {
    #requests = new Map();          // request id -> the message that was sent
    #seen = new Set();           // every request id that the server has generated
    #joined = new Set();         // channels between their ACKNOWLEDGE and their end
    #hasStarted = false;

    sent (message) { this.#requests.set(message.requestId, message); }

    received (message) {
        const rule = (holds, words) => { if (!holds) throw new Error(`${words}: ${JSON.stringify(message).slice(0, 300)}`); };
        const { action, event, channelName, requestId } = message;
        const request = this.#requests.get(requestId);

        if (!this.#hasStarted) {
            rule(action === 'CONNECT' && event === 'CONNECTION', 'the first frame is CONNECTION');
            rule(typeof message.payload.connectionId === 'string' && message.payload.connectionId, 'CONNECTION has a connectionId');
            this.#hasStarted = true;
            return;
        }
        rule(action !== 'CONNECT', 'CONNECTION is sent once');

        if (request) {
            rule(channelName === (request.channelName ?? 'GATEWAY'), 'an answer has exactly the channel name of its request');
        } else {
            rule(!this.#seen.has(requestId), 'a request id of the server is unique');
            this.#seen.add(requestId);
        }
        if (action === 'BROADCAST' || action === 'PRESENCE') {
            rule(!request, `a ${action} does not carry the id of a request`);
            rule(this.#joined.has(channelName), `a ${action} comes between the ACKNOWLEDGE and the end of its channel`);
        }
        switch (action === 'SYSTEM' && event) {
            case 'ACKNOWLEDGE':
                rule(request?.action === 'JOIN_CHANNEL', 'ACKNOWLEDGE answers a join');
                this.#joined.add(channelName);
                break;
            case 'UNAUTHORIZED':
                rule(request?.action === 'JOIN_CHANNEL', 'UNAUTHORIZED answers a join');
                break;
            case 'EXIT_ACKNOWLEDGE':
                rule(request?.action === 'LEAVE_CHANNEL', 'EXIT_ACKNOWLEDGE answers a leave');
                this.#joined.delete(channelName);
                break;
            case 'EVICTED':
                rule(this.#joined.delete(channelName), 'EVICTED ends a membership');
                break;
        }
    }
}
