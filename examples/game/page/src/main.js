// The page: connects the server (game.js) and the controls (controls.js) with the views (view/).

import { Autopilot } from './autopilot.js';
import { Controls } from './controls.js';
import { Game } from './game.js';
import { Motion } from './motion.js';
import { byId } from '@page/dom.js';
import { showConnection } from '@page/connection.js';
import { Me } from '@page/me.js';
import { wireStart } from '@page/start.js';
import { wireTheme } from '@page/theme.js';
import { toast } from '@page/toasts.js';
import { Feed } from './view/feed.js';
import { Meters } from './view/meters.js';
import { showLeaderboard } from './view/leaderboard.js';
import { Pond } from './view/pond.js';

wireTheme();
const me = new Me('pond-game', ['Barbel', 'Bream', 'Carp', 'Dace', 'Koi', 'Perch', 'Pike', 'Roach', 'Tench', 'Trout']);
const motion = new Motion();
const pond = new Pond(motion);
const meters = new Meters();
const feed = new Feed();
let game = null;
const controls = new Controls((course) => game?.steer(course));
const autopilot = new Autopilot(motion, (course) => game?.steer(course));

/** The reactions to the events of the game. */
const on = {
    connection: showConnection,
    problem: toast,
    latency: (ms) => meters.latency(ms),

    welcome (welcome) {
        motion.reset(welcome);
        pond.welcome(welcome);
        meters.welcome(welcome);
        feed.meet(welcome.you);
        controls.again();
    },
    tick (tick) {
        motion.add(tick);
        const mine = motion.latest.get(motion.me);
        if (mine) meters.energy(mine.energy);
    },
    score (update) {
        pond.ate(update);
        if (update.id === motion.me) meters.score(update);
    },
    achievement: (achievement) => feed.add(achievement),
    leaderboard: (board) => showLeaderboard(board, motion.me),
    player: (player) => pond.meet(player),
};

function setAutopilot (isOn) {
    controls.isOff = isOn;
    autopilot.set(isOn);
    if (!isOn) controls.again();
    byId('autopilot').setAttribute('aria-pressed', isOn);
}

const toggleAutopilot = () => setAutopilot(!autopilot.isOn);
byId('autopilot').addEventListener('click', toggleAutopilot);
addEventListener('keydown', (event) => { if (event.key === 'p' && game) toggleAutopilot(); });

wireStart(me.name, (name) => {
    me.name = name;
    byId('hud').hidden = false;
    game = new Game({ token: me.token, name }, on);
    // Steering by hand ends the autopilot.
    controls.wire(byId('pond'), byId('dash'), () => setAutopilot(false));
});

pond.start((fps) => meters.fps(fps));
