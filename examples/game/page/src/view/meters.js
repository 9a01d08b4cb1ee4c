// The numbers: score, level and energy, latency and frames a second.

import { byId } from '@page/dom.js';

export class Meters {
    welcome ({ score, level, levels }) {
        this.levels = levels;
        this.score({ score, level });
    }

    score ({ score, level }) {
        const [from, to] = [this.levels[level - 1].score, this.levels[level]?.score];
        byId('score').textContent = score;
        byId('title').textContent = this.levels[level - 1].title;
        byId('level').textContent = level;
        byId('next').textContent = to === undefined ? 'the highest level' : `${to - score} to level ${level + 1}`;
        byId('progress').style.width = `${to === undefined ? 100 : 100 * (score - from) / (to - from)}%`;
    }

    energy (part) {
        byId('energy').style.width = `${100 * part}%`;
    }

    latency (ms) {
        byId('latency').textContent = ms < 10 ? ms.toFixed(1) : Math.round(ms);
        byId('latency-quality').dataset.quality = ms < 60 ? 'good' : ms < 180 ? 'fair' : 'poor';
    }

    fps (frames) {
        byId('fps').textContent = frames;
    }
}
