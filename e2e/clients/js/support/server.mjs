// The server under test, and names of channels that no other test uses.

const address = process.env.POND_SERVER;
if (!address) throw new Error('POND_SERVER is not set: start the tests with ./run ws://127.0.0.1:PORT/api/socket');

/** The WebSocket endpoint under test. */
export const server = new URL(address);

let rooms = 0;
const fresh = () => `${process.pid}-${++rooms}`;

/** A channel with presence that no other test has used. */
export const chatRoom = () => `/chat/${fresh()}`;

/** A channel without presence that no other test has used. */
export const plainRoom = () => `/plain/${fresh()}`;

/** A channel with a history that no other test has used. */
export const historyRoom = () => `/history/${fresh()}`;
