// A fish, drawn along its swinging spine.

/** The colours of body and patches. */
const KINDS = [
    ['#ff7a3d', '#fff4e6'], ['#f8f2e8', '#e8542f'], ['#ffb02e', '#fff2cf'], ['#e63e62', '#ffe3ea'], ['#4b7bf5', '#dce8ff'],
    ['#3a3f52', '#f2f2f5'], ['#9168f5', '#eee5ff'], ['#12a594', '#d9fff7'], ['#f5d90a', '#6b5900'], ['#f76808', '#26221e'],
];

const JOINTS = 9;

/** The colours of a player, which follow from its id. */
export function colours (id) {
    return KINDS[Number(id) % KINDS.length];
}

export const lengthOf = (level) => 44 + 8 * level;

/** Draws a fish, in the units of the pond. */
export function drawFish (context, { id, x, y, heading, level, speed }, time, shadow) {
    const [body, patch] = colours(id);
    const length = lengthOf(level);
    const spine = spineOf(length, Number(id), time, speed);
    context.save();
    context.translate(x, y);
    context.rotate(heading);

    // The shadow on the ground has the same outline.
    context.save();
    context.rotate(-heading);
    context.translate(7 + level, 12 + level * 2);
    context.rotate(heading);
    context.fillStyle = shadow;
    outline(context, spine);
    context.fill();
    context.restore();

    fins(context, spine, length, body);
    context.fillStyle = body;
    outline(context, spine);
    context.fill();
    context.fillStyle = patch;
    for (const joint of Number(id) % 2 ? [2, 5] : [1, 4, 6]) {
        const { x, y, half } = spine[joint];
        context.beginPath();
        context.ellipse(x, y, half * 0.9, half * 0.72, 0, 0, 2 * Math.PI);
        context.fill();
    }
    context.fillStyle = '#1a1a22';
    for (const side of [-1, 1]) {
        context.beginPath();
        context.arc(spine[1].x + length * 0.03, spine[1].y + side * spine[1].half * 0.72, length * 0.026, 0, 2 * Math.PI);
        context.fill();
    }
    context.restore();
}

/** Points from the nose to the root of the tail, with how far the body reaches to each side. */
function spineOf (length, number, time, speed) {
    const swing = length * (0.05 + Math.min(speed, 400) / 400 * 0.16);
    const pace = 4 + speed / 45;
    return Array.from({ length: JOINTS }, (_, joint) => {
        const s = joint / (JOINTS - 1);
        const y = swing * s * s * Math.sin(time * pace + number * 1.7 - s * 2.6);
        const half = length * 0.19 * Math.pow(Math.sin(Math.PI * (0.1 + 0.86 * s)), 0.8) * (1 - 0.35 * s);
        return { x: length * (0.5 - s * 0.86), y, half };
    });
}

function outline (context, spine) {
    const nose = spine[0];
    context.beginPath();
    context.moveTo(nose.x + nose.half * 0.9, nose.y);
    side(context, spine, -1);
    const [before, end] = spine.slice(-2);
    const [dx, dy] = [end.x - before.x, end.y - before.y];
    // The tail: two lobes behind the last joint.
    const [tx, ty] = [end.x + dx * 2.4, end.y + dy * 3.2];
    context.quadraticCurveTo(end.x + dx, end.y + dy - 2, tx - dy, ty + dx * 1.25);
    context.quadraticCurveTo(end.x + dx * 1.3, end.y + dy * 1.6, tx + dy, ty - dx * 1.25);
    context.quadraticCurveTo(end.x + dx, end.y + dy + 2, end.x, end.y + end.half);
    side(context, spine, 1);
    context.closePath();
}

function side (context, spine, sign) {
    const joints = sign < 0 ? spine : spine.toReversed();
    for (let joint = 0; joint < joints.length - 1; joint++) {
        const [here, next] = [joints[joint], joints[joint + 1]];
        const middle = { x: (here.x + next.x) / 2, y: (here.y + sign * here.half + next.y + sign * next.half) / 2 };
        context.quadraticCurveTo(here.x, here.y + sign * here.half, middle.x, middle.y);
    }
    const end = joints.at(-1);
    context.lineTo(end.x, end.y + sign * end.half);
}

function fins (context, spine, length, colour) {
    const { x, y, half } = spine[3];
    context.fillStyle = colour;
    context.globalAlpha = 0.6;
    for (const sign of [-1, 1]) {
        context.beginPath();
        context.moveTo(x + length * 0.08, y + sign * half * 0.7);
        context.quadraticCurveTo(x + length * 0.04, y + sign * (half + length * 0.17), x - length * 0.15, y + sign * (half + length * 0.15));
        context.quadraticCurveTo(x - length * 0.06, y + sign * half, x - length * 0.08, y + sign * half * 0.7);
        context.fill();
    }
    context.globalAlpha = 1;
}
