// A browser tab with one user of the published client. `window.user` has the reports of the client.

export class Tab {
    /** Opens the page in a new tab and creates a client of `url` without connecting it. */
    static async open (context, page, url, query = { token: 't' }, { client = 'PondClient', options } = {}) {
        const tab = new Tab();
        tab.page = await context.newPage();
        tab.errors = [];
        tab.page.on('pageerror', (error) => tab.errors.push(error.message));
        await tab.page.goto(page);
        await tab.page.evaluate(([kind, url, query, options]) => {
            const client = new window[kind](url, query, options);
            window.user = { client, connection: [], errors: 0 };
            client.onConnectionChange((state) => window.user.connection.push(state));
            client.onError(() => { window.user.errors++; });
        }, [client, url.toString(), query, options]);
        return tab;
    }

    async connect () {
        await this.page.evaluate(() => window.user.client.connect());
        await this.until(() => window.user.client.getState() === 'connected');
    }

    /** Starts to join `room`. */
    async join (room, params) {
        await this.page.evaluate(([room, params]) => {
            const channel = window.user.client.createChannel(room, params);
            Object.assign(window.user, { channel, states: [], messages: [], joins: [], leaves: [] });
            channel.onChannelStateChange((state) => window.user.states.push(state));
            channel.onMessage((event, payload) => window.user.messages.push({ event, payload }));
            channel.onJoin((presence) => window.user.joins.push(presence.username));
            channel.onLeave((presence) => window.user.leaves.push(presence.username));
            channel.join();
        }, [room, params]);
    }

    async joined (room, username) {
        await this.connect();
        await this.join(room, { username });
        await this.reaches('JOINED');
    }

    reaches (state) { return this.until((state) => window.user.channel.channelState === state, state); }

    send (event, payload) {
        return this.page.evaluate(([event, payload]) => window.user.channel.sendMessage(event, payload), [event, payload]);
    }

    ask (event, payload) {
        return this.page.evaluate(([event, payload]) => window.user.channel.sendForResponse(event, payload), [event, payload]);
    }

    /** The payloads received under one event name, once there are `count` of them. */
    async received (event, count) {
        const enough = ([event, count]) => window.user.messages.filter((message) => message.event === event).length >= count;
        await this.until(enough, [event, count]);
        const messages = await this.get('messages');
        return messages.filter((message) => message.event === event).map((message) => message.payload);
    }

    sees (...names) {
        const present = (names) => window.user.channel.presence.map(({ username }) => username).sort().join() === names;
        return this.until(present, names.sort().join());
    }

    /** A value of `window.user`. */
    get (name) { return this.page.evaluate((name) => window.user[name], name); }

    until (probe, argument) { return this.page.waitForFunction(probe, argument, { timeout: 8000, polling: 20 }); }
}
