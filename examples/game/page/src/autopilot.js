// An autopilot that steers to the nearest crumb that the fish can reach, like the simulated players.

/** The interval of its decisions, in milliseconds. */
const LOOKS = 200;

/** The radius of the smallest circle that a fish swims without a dash: its speed divided by that of its turns (fish.rs). */
const TURNING_RADIUS = 46;

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
            const far = Math.hypot(x, y);
            if (far < nearest.far && isInReach(x, y, mine.heading)) nearest = { far, angle: Math.atan2(y, x) };
        }
        this.steer({ angle: nearest.angle ?? null, dash: mine.energy > 0.95 });
    }
}

/** Returns whether a fish that turns towards a point reaches it. It would swim around a point within its turning circle for ever. */
function isInReach (x, y, heading) {
    const ahead = x * Math.cos(heading) + y * Math.sin(heading);
    const aside = Math.abs(y * Math.cos(heading) - x * Math.sin(heading));
    return Math.hypot(ahead, aside - TURNING_RADIUS) >= TURNING_RADIUS;
}
