// Rooms of Socket.IO.
//
// Tuned as its pages "Performance tuning" and "Memory usage" say: the native add-ons of `ws` are installed, the first HTTP
// request of each connection is dropped. Clients come over WebSockets at once, so no other transport is offered.
import { readFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer as createSecure } from "node:https";
import { Server } from "socket.io";

const { TLS_CERTIFICATE, TLS_KEY, COMPRESSION } = process.env;
const http = TLS_KEY
  ? createSecure({ cert: readFileSync(TLS_CERTIFICATE), key: readFileSync(TLS_KEY) })
  : createPlain();
const perMessageDeflate = COMPRESSION === "on" && { serverNoContextTakeover: true, clientNoContextTakeover: true };
const io = new Server(http, { transports: ["websocket"], serveClient: false, perMessageDeflate });
io.engine.on("connection", (raw) => {
  raw.request = null;
});

io.on("connection", (socket) => {
  socket.on("join", (room, done) => {
    socket.join(room);
    done();
  });
  socket.on("message", (room, payload) => io.to(room).emit("message", payload));
  socket.on("echo", (payload) => socket.emit("echo", payload));
});

http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(`listening ${http.address().port}`));
