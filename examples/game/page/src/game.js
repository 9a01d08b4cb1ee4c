// The connection to the game, over the official client. It reconnects and joins again by itself.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

/** How often the latency is measured, in milliseconds, and of how many measurements it is the middle one. */
const PING_EVERY = 1000;
const PINGS = 5;

/** The shortest time between two messages about the course. */
const STEER_EVERY = 50;

export class Game {
    isIn = false;
    wasIn = false;
    pings = [];

    /** `heard` has a callback for each thing that the server can say. */
    constructor (me, heard) {
        this.heard = heard;
        const client = new PondClient(new URL('/api/socket', location.href).href, me, { maxReconnectDelay: 4000 });
        this.channel = client.createChannel('/pond');
        // Before the join: its answer may come at once.
        this.channel.onMessage((event, payload) => this.received(event, payload));
        // A large list of players comes in parts: whoever was named once stays known.
        this.channel.onUsersChange((players) => players.forEach(heard.player));
        this.channel.onJoin(heard.player);
        this.channel.onChannelStateChange((state) => {
            if (state === ChannelState.DECLINED) heard.problem('The pond is full. Try again later.');
        });
        this.channel.join();
        client.onConnectionChange((state) => this.connectionChanged(state));
        client.connect();
        setInterval(() => this.ping(), PING_EVERY);
    }

    /** Says where to go: the last course wins, and not more often than the server wants to hear it. */
    steer (course) {
        this.course = course;
        if (this.steering || !this.isIn) return;
        this.channel.sendMessage('steer', course);
        this.steering = setTimeout(() => {
            this.steering = null;
            if (this.course !== course) this.steer(this.course);
        }, STEER_EVERY);
    }

    ping () {
        if (this.isIn) this.channel.sendMessage('ping', { at: performance.now() });
    }

    received (event, payload) {
        switch (event) {
            case 'tick': return this.heard.tick(payload);
            case 'score_update': return this.heard.score(payload);
            case 'achievement': return this.heard.achievement(payload);
            case 'leaderboard': return this.heard.leaderboard(payload);
            case 'ping': return this.pong(payload);
            case 'welcome': return this.welcome(payload);
            default: return payload.message && this.heard.problem(payload.message);
        }
    }

    welcome (payload) {
        this.isIn = this.wasIn = true;
        this.heard.welcome(payload);
        this.ping();
    }

    pong ({ at }) {
        this.pings = [...this.pings, performance.now() - at].slice(-PINGS);
        this.heard.latency(this.pings.toSorted((a, b) => a - b)[this.pings.length >> 1]);
    }

    connectionChanged (state) {
        if (state === ConnectionState.CONNECTED) return this.heard.connection('connected');
        this.isIn = false;
        this.pings = [];
        this.heard.connection(this.wasIn ? 'reconnecting' : 'connecting');
    }
}
