// The pond on its canvas: the part around the fish of this player, sixty times a second.

import { byId } from '@page/dom.js';
import { colours, drawFish, lengthOf } from './fish.js';
import { Scenery, disc, palette } from './scenery.js';

/** The visible length of the pond along the longer side of the window, and the visible distance beyond its bank. */
const SEEN = 1080;
const BANK = 70;

/** The number of nearest fish that have their names shown. */
const NAMED = 8;

/** The duration of a ripple and of a number, in seconds. */
const RIPPLE = 0.9;

/** The most ripples at a time: hundreds of players would cover the water with rings. */
const RIPPLES = 24;

export class Pond {
    size = { width: 2400, height: 1600, golden: 10 };
    camera = { x: 1200, y: 800 };
    names = new Map();
    effects = [];

    constructor (motion) {
        this.motion = motion;
        this.canvas = byId('pond');
        this.map = byId('map').getContext('2d');
        new ResizeObserver(() => this.resize()).observe(this.canvas);
        // Another theme has other colours.
        const changed = () => { this.scenery = null; };
        new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ['data-theme'] });
        matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
    }

    welcome ({ pond }) {
        this.size = pond;
        this.scenery = null;
        this.isAnew = true;
    }

    meet ({ id, name }) {
        this.names.set(id, name);
    }

    /** Shows rings where a fish has eaten, and the points if it is that of this player. */
    ate ({ id, score }) {
        const fish = this.motion.latest.get(id);
        if (!fish) return;
        const isMine = id === this.motion.me;
        const worth = isMine ? score - (this.score ?? score) : 0;
        if (isMine) this.score = score;
        if (!isMine && this.effects.length >= RIPPLES) return;
        const text = worth > 0 ? `+${worth}` : '';
        this.effects.push({ x: fish.x, y: fish.y, since: performance.now() / 1000, isMine, text });
    }

    start (counted) {
        let [frames, second] = [0, performance.now()];
        const frame = (now) => {
            this.draw(now / 1000);
            frames++;
            if (now - second >= 1000) {
                counted(Math.round(frames * 1000 / (now - second)));
                [frames, second] = [0, now];
            }
            requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    }

    resize () {
        const sharp = Math.min(devicePixelRatio, 2);
        this.canvas.width = this.canvas.clientWidth * sharp;
        this.canvas.height = this.canvas.clientHeight * sharp;
    }

    draw (time) {
        this.scenery ??= new Scenery(this.size, this.colours = palette());
        const fish = this.motion.shown();
        const mine = fish.get(this.motion.me);
        this.follow(mine ?? { x: this.size.width / 2, y: this.size.height / 2 });

        const context = this.canvas.getContext('2d');
        const view = this.view();
        context.setTransform(view.scale, 0, 0, view.scale, -view.x * view.scale, -view.y * view.scale);
        this.scenery.drawBelow(context, view, time);
        this.drawCrumbs(context, view, time);
        // Large fish last, so that they are above.
        const visible = [...fish.values()].filter((fish) => isIn(fish, view)).sort((a, b) => a.level - b.level);
        for (const one of visible) drawFish(context, one, time, this.colours.shadow);
        this.scenery.drawAbove(context, view, time);
        this.drawEffects(context);
        this.drawNames(context, visible, mine);
        this.drawMap(fish, mine, view);
    }

    follow ({ x, y }) {
        const part = this.isAnew ? 1 : 0.12;
        if (this.motion.latest.size) this.isAnew = false;
        this.camera.x += (x - this.camera.x) * part;
        this.camera.y += (y - this.camera.y) * part;
    }

    /** The visible part of the pond, which ends a little beyond its bank. */
    view () {
        const { width, height } = this.canvas;
        const scale = Math.max(width, height) / SEEN;
        const view = { scale, width: width / scale, height: height / scale };
        const within = (middle, seen, all) => Math.max(-BANK, Math.min(middle - seen / 2, all + BANK - seen));
        view.x = within(this.camera.x, view.width, this.size.width);
        view.y = within(this.camera.y, view.height, this.size.height);
        return view;
    }

    drawCrumbs (context, view, time) {
        const { crumbs } = this.motion;
        for (let number = 0; number < crumbs.length / 2; number++) {
            const [x, y] = [crumbs[2 * number], crumbs[2 * number + 1]];
            if (!isIn({ x, y }, view)) continue;
            const isGolden = number % this.size.golden === 0;
            const radius = (isGolden ? 8 : 5) + Math.sin(time * 2.4 + number) * 0.8;
            context.fillStyle = isGolden ? this.colours.gold : this.colours.crumb;
            context.globalAlpha = 0.22;
            disc(context, x, y, radius * 2.1);
            context.globalAlpha = 1;
            disc(context, x, y, radius);
        }
    }

    drawEffects (context) {
        const now = performance.now() / 1000;
        this.effects = this.effects.filter(({ since }) => now - since < RIPPLE);
        for (const { x, y, since, isMine, text } of this.effects) {
            const part = (now - since) / RIPPLE;
            context.globalAlpha = (isMine ? 1 : 0.45) * (1 - part);
            context.strokeStyle = this.colours.ripple;
            context.lineWidth = 3 * (1 - part) + 0.5;
            for (const reach of [60, 34]) {
                context.beginPath();
                context.arc(x, y, 8 + reach * part, 0, 2 * Math.PI);
                context.stroke();
            }
            if (text) this.write(context, text, x, y - 52 - 36 * part, 24);
        }
        context.globalAlpha = 1;
    }

    drawNames (context, visible, mine) {
        if (!mine) return;
        const far = ({ x, y }) => Math.hypot(x - mine.x, y - mine.y);
        const nearest = visible.toSorted((a, b) => far(a) - far(b)).slice(0, NAMED);
        for (const { id, x, y, level } of nearest) {
            const isMine = id === this.motion.me;
            context.globalAlpha = isMine ? 1 : 0.85;
            this.write(context, isMine ? 'You' : this.names.get(id) ?? '', x, y - lengthOf(level) * 0.5 - 12, isMine ? 17 : 14);
        }
        context.globalAlpha = 1;
    }

    write (context, text, x, y, size) {
        context.font = `600 ${size}px system-ui, sans-serif`;
        context.textAlign = 'center';
        context.lineJoin = 'round';
        context.strokeStyle = this.colours['label-edge'];
        context.lineWidth = size / 4;
        context.strokeText(text, x, y);
        context.fillStyle = this.colours.label;
        context.fillText(text, x, y);
    }

    /** Draws the map: each fish as a dot, the visible part as a frame. */
    drawMap (fish, mine, view) {
        const { map } = this;
        const { width, height } = map.canvas;
        const scale = width / this.size.width;
        map.setTransform(1, 0, 0, 1, 0, 0);
        map.clearRect(0, 0, width, height);
        map.setTransform(scale, 0, 0, scale, 0, 0);
        map.globalAlpha = 0.9;
        for (const { id, x, y, level } of fish.values()) {
            map.fillStyle = colours(id)[0];
            disc(map, x, y, 14 + level * 3);
        }
        map.globalAlpha = 1;
        map.strokeStyle = this.colours.label;
        map.lineWidth = 12;
        if (mine) {
            map.beginPath();
            map.arc(mine.x, mine.y, 48, 0, 2 * Math.PI);
            map.stroke();
        }
        map.globalAlpha = 0.45;
        map.strokeRect(view.x, view.y, view.width, view.height);
        map.globalAlpha = 1;
    }
}

/** Returns whether a point is in or near the visible part. */
function isIn ({ x, y }, view) {
    return x > view.x - 90 && x < view.x + view.width + 90 && y > view.y - 90 && y < view.y + view.height + 90;
}
