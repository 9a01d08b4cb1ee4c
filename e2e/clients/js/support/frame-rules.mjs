// The rules for each frame of the server. The published clients differ in what they accept; all of them accept a frame
// that keeps these rules.

const ACTIONS = ['CONNECT', 'SYSTEM', 'BROADCAST', 'PRESENCE', 'ERROR'];
const FIELDS = ['action', 'channelName', 'event', 'payload', 'requestId'];
const PRESENCE_EVENTS = ['JOIN', 'UPDATE', 'LEAVE'];

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The message in a frame. Throws when the frame breaks a rule. */
export function readFrame (data, isBinary) {
    const text = data.toString();
    const rule = (holds, words) => { if (!holds) throw new Error(`${words}: ${text.slice(0, 300)}`); };

    rule(!isBinary, 'a frame is text');
    rule(!/[\r\n]/.test(text), 'a frame is one line');
    const message = JSON.parse(text);
    rule(isObject(message), 'a message is an object');
    rule(Object.keys(message).sort().join() === FIELDS.join(), `a message has the fields ${FIELDS}`);
    rule(ACTIONS.includes(message.action), `the action is one of ${ACTIONS}`);
    for (const field of ['event', 'channelName', 'requestId']) {
        rule(typeof message[field] === 'string' && message[field] !== '', `${field} is a string with content`);
    }
    rule(isObject(message.payload), 'the payload is an object');
    if (message.action === 'PRESENCE') {
        rule(PRESENCE_EVENTS.includes(message.event), `a presence event is one of ${PRESENCE_EVENTS}`);
        rule(Array.isArray(message.payload.presence), 'presence is a list');
        rule(message.payload.presence.every(isObject), 'each entry of the presence list is an object');
        rule(isObject(message.payload.changed), 'changed is an object');
    }
    return message;
}
