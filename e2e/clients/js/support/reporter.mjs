// Prints one line for each test, and at the end "N passed, M failed, K skipped".

export default async function * report (events) {
    const count = { ok: 0, FAIL: 0, skip: 0 };
    for await (const { type, data } of events) {
        if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
        if (type !== 'test:pass' && type !== 'test:fail') continue;
        const verdict = verdictOf(type, data);
        count[verdict]++;
        yield `${verdict.padEnd(4)} ${data.name}${verdict === 'skip' ? `: ${data.skip ?? data.todo}` : ''}\n`;
        if (verdict === 'FAIL') yield indented(data.details.error.cause?.stack ?? data.details.error);
    }
    yield `${count.ok} passed, ${count.FAIL} failed, ${count.skip} skipped\n`;
}

function verdictOf (type, { skip, todo }) {
    if (type === 'test:fail') return 'FAIL';
    return skip === undefined && todo === undefined ? 'ok' : 'skip';
}

const indented = (text) => `${text}\n`.replaceAll(/^(?=.)/gm, '     ');
