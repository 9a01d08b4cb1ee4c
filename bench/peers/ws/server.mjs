// Rooms on `ws`. It has none of its own, so these are the least that an application would write: a set of sockets for each
// name, and the envelope of PondSocket, so that the load need not learn another one.
//
// Tuned as its README says: `bufferutil` is installed, compression is off unless the scenario asks for it, and then has the
// settings of the README's example. A message is encoded once, and the same buffer is sent to all.
import { readFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer as createSecure } from "node:https";
import { WebSocketServer } from "ws";

const { TLS_CERTIFICATE, TLS_KEY, COMPRESSION } = process.env;
const http = TLS_KEY
  ? createSecure({ cert: readFileSync(TLS_CERTIFICATE), key: readFileSync(TLS_KEY) })
  : createPlain();
const perMessageDeflate = COMPRESSION === "on" && {
  zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
  zlibInflateOptions: { chunkSize: 10 * 1024 },
  clientNoContextTakeover: true,
  serverNoContextTakeover: true,
  serverMaxWindowBits: 10,
  concurrencyLimit: 10,
  threshold: 1024,
};
const server = new WebSocketServer({ server: http, perMessageDeflate });
const rooms = new Map();

server.on("connection", (socket) => {
  const joined = new Set();
  socket.on("message", (data) => {
    const { action, event, channelName, requestId, payload } = JSON.parse(data);
    if (action === "JOIN_CHANNEL") {
      if (!rooms.has(channelName)) rooms.set(channelName, new Set());
      rooms.get(channelName).add(socket);
      joined.add(channelName);
      socket.send(JSON.stringify({ action: "SYSTEM", event: "ACKNOWLEDGE", channelName, requestId, payload: {} }));
      return;
    }
    const answer = Buffer.from(JSON.stringify({ action: "BROADCAST", event, channelName, requestId, payload }));
    if (event === "echo") socket.send(answer, { binary: false });
    else for (const member of rooms.get(channelName)) member.send(answer, { binary: false });
  });
  socket.on("close", () => {
    for (const name of joined) {
      const room = rooms.get(name);
      room.delete(socket);
      if (room.size === 0) rooms.delete(name);
    }
  });
  socket.on("error", () => socket.terminate());
});

http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(`listening ${http.address().port}`));
