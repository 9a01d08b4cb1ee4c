// The scenery: glittering water, its bank, and lily pads above the fish.

/** A seeded generator, so that all players see the same scenery without data from the server. */
function seeded (seed) {
    return () => {
        seed = (seed * 1664525 + 1013904223) % 4294967296;
        return seed / 4294967296;
    };
}

const TILE = 420;
const PADS = 46;

/** The colours of the style sheet, in the form of a canvas. */
export function palette () {
    const probe = document.createElement('i');
    document.body.append(probe);
    const colour = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
    const names = ['deep', 'shallow', 'glitter', 'bank', 'bank-edge', 'pad', 'pad-vein', 'shadow', 'crumb', 'gold', 'ripple', 'label', 'label-edge'];
    const found = Object.fromEntries(names.map((name) => [name, colour(name)]));
    probe.remove();
    return found;
}

export class Scenery {
    constructor ({ width, height }, colours) {
        this.size = { width, height };
        this.colours = colours;
        this.glitter = glitterTile(colours.glitter);
        const random = seeded(7);
        this.pads = Array.from({ length: PADS }, () => {
            // Mostly along the bank.
            const far = Math.pow(random(), 1.7) * 0.42;
            const [x, y] = random() < 0.5
                ? [random() * width, (random() < 0.5 ? far : 1 - far) * height]
                : [(random() < 0.5 ? far : 1 - far) * width, random() * height];
            return { x, y, radius: 26 + random() * 34, angle: random() * 7, flower: random() < 0.22 };
        });
        this.reeds = Array.from({ length: 150 }, (_, number) => {
            const [along, side] = [random(), number % 4];
            const off = -8 - random() * 40;
            const [x, y] = side < 2 ? [along * width, side ? height - off : off] : [side === 2 ? off : width - off, along * height];
            return { x, y, radius: 6 + random() * 16 };
        });
    }

    /** Draws everything below the fish. `view` is the visible part of the pond. */
    drawBelow (context, view, time) {
        const { width, height } = this.size;
        context.fillStyle = this.colours.bank;
        context.fillRect(view.x, view.y, view.width, view.height);
        context.fillStyle = this.colours['bank-edge'];
        for (const { x, y, radius } of this.reeds) disc(context, x, y, radius);

        context.beginPath();
        context.roundRect(-24, -24, width + 48, height + 48, 90);
        context.strokeStyle = this.colours['bank-edge'];
        context.lineWidth = 18;
        context.stroke();
        const depth = context.createRadialGradient(width / 2, height / 2, height * 0.15, width / 2, height / 2, width * 0.62);
        depth.addColorStop(0, this.colours.deep);
        depth.addColorStop(1, this.colours.shallow);
        context.fillStyle = depth;
        context.fill();

        context.save();
        context.clip();
        this.drawGlitter(context, view, time * 9, time * 5);
        this.drawGlitter(context, view, 160 - time * 6, 90 + time * 7);
        context.restore();
    }

    drawGlitter (context, view, dx, dy) {
        const pattern = context.createPattern(this.glitter, 'repeat');
        pattern.setTransform(new DOMMatrix().translate(dx % TILE, dy % TILE));
        context.fillStyle = pattern;
        context.fillRect(view.x, view.y, view.width, view.height);
    }

    drawAbove (context, view, time) {
        for (const pad of this.pads) {
            if (pad.x + 80 < view.x || pad.x - 80 > view.x + view.width || pad.y + 80 < view.y || pad.y - 80 > view.y + view.height) continue;
            context.save();
            context.translate(pad.x + Math.sin(time * 0.5 + pad.angle) * 3, pad.y + Math.cos(time * 0.4 + pad.angle) * 3);
            context.fillStyle = this.colours.shadow;
            disc(context, 7, 11, pad.radius * 0.96);
            context.rotate(pad.angle + Math.sin(time * 0.3 + pad.x) * 0.05);
            drawPad(context, pad, this.colours);
            context.restore();
        }
    }
}

function drawPad (context, { radius, flower }, colours) {
    context.fillStyle = colours.pad;
    context.beginPath();
    context.arc(0, 0, radius, 0.25, 2 * Math.PI - 0.25);
    context.lineTo(0, 0);
    context.fill();
    context.strokeStyle = colours['pad-vein'];
    context.lineWidth = 1.5;
    context.beginPath();
    for (let vein = 1; vein < 8; vein++) {
        const angle = vein * Math.PI / 4;
        context.moveTo(0, 0);
        context.lineTo(Math.cos(angle) * radius * 0.82, Math.sin(angle) * radius * 0.82);
    }
    context.stroke();
    if (!flower) return;
    for (const [petals, reach, colour] of [[8, 0.5, '#f7a8c4'], [6, 0.34, '#fde3ec']]) {
        context.fillStyle = colour;
        for (let petal = 0; petal < petals; petal++) {
            context.save();
            context.rotate(petal * 2 * Math.PI / petals);
            context.beginPath();
            context.ellipse(radius * reach * 0.6, 0, radius * reach * 0.5, radius * reach * 0.24, 0, 0, 2 * Math.PI);
            context.fill();
            context.restore();
        }
    }
    context.fillStyle = '#f9c846';
    disc(context, 0, 0, radius * 0.1);
}

/** Light on moving water: a tile of soft lines that repeats without seams. */
function glitterTile (colour) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = TILE;
    const context = tile.getContext('2d');
    const random = seeded(3);
    context.strokeStyle = colour;
    context.lineCap = 'round';
    // In a browser without this filter the lines are less soft.
    context.filter = 'blur(2.5px)';
    for (let line = 0; line < 60; line++) {
        const [x, y, angle, reach] = [random() * TILE, random() * TILE, random() * 7, 18 + random() * 42];
        context.lineWidth = 2 + random() * 5;
        for (const dx of [-TILE, 0, TILE]) {
            for (const dy of [-TILE, 0, TILE]) {
                context.beginPath();
                context.arc(x + dx, y + dy, reach, angle, angle + 1.1);
                context.stroke();
            }
        }
    }
    return tile;
}

export function disc (context, x, y, radius) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
}
