// Steering, by keys, by touch and by mouse.

const KEYS = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    a: [-1, 0], d: [1, 0], w: [0, -1], s: [0, 1],
};

/** The distance in pixels that a finger moves before it steers. */
const DEAD = 10;

export class Controls {
    isOff = false;
    keys = new Set();
    dashing = false;
    /** The steering pointer: its id, and the point at which it was pressed. */
    stick = null;
    angle = null;

    constructor (steer) {
        this.steer = steer;
    }

    /** `taken` is called when the player steers or dashes. */
    wire (surface, dash, taken) {
        this.taken = taken;
        addEventListener('keydown', (event) => this.key(event, true));
        addEventListener('keyup', (event) => this.key(event, false));
        addEventListener('blur', () => { this.keys.clear(); this.dashing = false; this.stick = this.angle = null; this.report(); });
        surface.addEventListener('pointerdown', (event) => this.down(event, surface));
        surface.addEventListener('pointermove', (event) => this.move(event));
        for (const end of ['pointerup', 'pointercancel']) surface.addEventListener(end, (event) => this.up(event));
        for (const begin of ['pointerdown']) dash.addEventListener(begin, () => this.dash(true));
        for (const end of ['pointerup', 'pointercancel', 'pointerleave']) dash.addEventListener(end, () => this.dash(false));
    }

    /** Sends the course again, after a reconnect for example. */
    again () {
        this.told = undefined;
        this.report();
    }

    key (event, isDown) {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        if (key === ' ') {
            // A press on a button belongs to the button.
            if (event.target.closest?.('button')) return;
            event.preventDefault();
            return this.dash(isDown);
        }
        if (!KEYS[key]) return;
        event.preventDefault();
        if (isDown) this.keys.add(key);
        else this.keys.delete(key);
        const [x, y] = [...this.keys].reduce(([x, y], key) => [x + KEYS[key][0], y + KEYS[key][1]], [0, 0]);
        this.angle = x || y ? Math.atan2(y, x) : null;
        if (isDown) this.taken();
        this.report();
    }

    down (event, surface) {
        this.taken();
        // A second finger dashes.
        if (this.stick) return this.dash(true);
        surface.setPointerCapture(event.pointerId);
        const isMouse = event.pointerType === 'mouse';
        // A finger steers relative to the point of its press, a mouse relative to the middle, where the fish is.
        const [x, y] = isMouse ? [surface.clientWidth / 2, surface.clientHeight / 2] : [event.clientX, event.clientY];
        this.stick = { id: event.pointerId, x, y, isMouse };
        this.move(event);
    }

    move (event) {
        if (event.pointerId !== this.stick?.id) return;
        const [x, y] = [event.clientX - this.stick.x, event.clientY - this.stick.y];
        Object.assign(this.stick, { dx: x, dy: y });
        if (Math.hypot(x, y) < DEAD) return;
        this.angle = Math.atan2(y, x);
        this.report();
    }

    up (event) {
        if (event.pointerId !== this.stick?.id) return this.dash(false);
        this.stick = this.angle = null;
        this.dash(false);
    }

    dash (isOn) {
        if (isOn) this.taken();
        this.dashing = isOn;
        this.report();
    }

    report () {
        if (this.isOff) return;
        const course = { angle: this.angle, dash: this.dashing };
        const told = JSON.stringify(course);
        if (told === this.told) return;
        this.told = told;
        this.steer(course);
    }
}
