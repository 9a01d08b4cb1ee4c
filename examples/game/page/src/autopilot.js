// An autopilot that steers to the nearest crumb, like the simulated players.

/** The interval of its decisions, in milliseconds. */
const LOOKS = 200;

export class Autopilot {
    isOn = false;

    constructor (motion, steer) {
        this.motion = motion;
        this.steer = steer;
    }

    set (isOn) {
        if (isOn === this.isOn) return;
        this.isOn = isOn;
        clearInterval(this.timer);
        if (isOn) this.timer = setInterval(() => this.look(), LOOKS);
    }

    look () {
        const { crumbs, latest, me } = this.motion;
        const mine = latest.get(me);
        if (!mine) return;
        let nearest = { far: Infinity };
        for (let at = 0; at < crumbs.length; at += 2) {
            const [x, y] = [crumbs[at] - mine.x, crumbs[at + 1] - mine.y];
            if (Math.hypot(x, y) < nearest.far) nearest = { far: Math.hypot(x, y), angle: Math.atan2(y, x) };
        }
        this.steer({ angle: nearest.angle ?? null, dash: mine.energy > 0.95 });
    }
}
