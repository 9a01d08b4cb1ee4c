// The connection to the game, over the official client, which reconnects and rejoins by itself.

import { ChannelState, ConnectionState, PondClient } from '@eleven-am/pondsocket-client';

/** The interval of latency measurements in milliseconds, and their number for the median. */
const PING_EVERY = 1000;
const PINGS = 5;

/** The shortest time between two messages about the course, in milliseconds. */
const STEER_EVERY = 50;

export class Game {
    isIn = false;
    wasIn = false;
    pings = [];

    /** `on` has a callback for each event of the server. */
    constructor (me, on) {
        this.on = on;
        const client = new PondClient(new URL('/api/socket', location.href).href, me, { maxReconnectDelay: 4000 });
        this.channel = client.createChannel('/pond');
        // Before the join, because its answer may arrive at once.
        this.channel.onMessage((event, payload) => this.received(event, payload));
        // A large list of players arrives in parts, so names are kept.
        this.channel.onUsersChange((players) => players.forEach(on.player));
        this.channel.onJoin(on.player);
        this.channel.onChannelStateChange((state) => {
            if (state === ChannelState.DECLINED) on.problem('The pond is full. Try again later.');
        });
        this.channel.join();
        client.onConnectionChange((state) => this.connectionChanged(state));
        client.connect();
        setInterval(() => this.ping(), PING_EVERY);
    }

    /** Sends the course: the latest one, at most as often as the server accepts it. */
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
            case 'tick': return this.on.tick(payload);
            case 'score_update': return this.on.score(payload);
            case 'achievement': return this.on.achievement(payload);
            case 'leaderboard': return this.on.leaderboard(payload);
            case 'ping': return this.pong(payload);
            case 'welcome': return this.welcome(payload);
            default: return payload.message && this.on.problem(payload.message);
        }
    }

    welcome (payload) {
        this.isIn = this.wasIn = true;
        this.on.welcome(payload);
        this.ping();
    }

    pong ({ at }) {
        this.pings = [...this.pings, performance.now() - at].slice(-PINGS);
        this.on.latency(this.pings.toSorted((a, b) => a - b)[this.pings.length >> 1]);
    }

    connectionChanged (state) {
        if (state === ConnectionState.CONNECTED) return this.on.connection('connected');
        this.isIn = false;
        this.pings = [];
        this.on.connection(this.wasIn ? 'reconnecting' : 'connecting');
    }
}
