// The published client over an event stream. Node 20 has no EventSource, so a package provides it.

import { EventSource } from 'eventsource';
import { SSEClient } from '@eleven-am/pondsocket-client';
import { server } from './server.mjs';

globalThis.EventSource ??= EventSource;

/** The address of the server's event streams: that of its WebSockets over HTTP. */
export const eventServer = new URL(server);
eventServer.protocol = 'http:';

/** The options of a peer that connects over an event stream. */
export const overEvents = { Client: SSEClient, url: eventServer };
