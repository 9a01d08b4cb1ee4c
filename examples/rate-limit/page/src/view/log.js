// The list of the last answers, newest first.

import { byId, element } from '@page/dom.js';
import { outcomeOf, textOf } from './outcome.js';

const MAX_SHOWN = 100;

export function log (event, answer, took) {
    const row = element('li', '', element('code', '', event), element('strong', '', answer.code ?? 'ok'), element('span', 'muted', `${took.toFixed(1)} ms`), element('span', '', textOf(answer)));
    row.dataset.outcome = outcomeOf(answer);
    byId('log').prepend(row);
    while (byId('log').childElementCount > MAX_SHOWN) byId('log').lastElementChild.remove();
}
