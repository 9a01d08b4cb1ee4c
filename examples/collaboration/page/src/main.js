// The page: connects the document (link.js), the editor (editor.js) and the views (view/).

import * as Y from 'yjs';
import { Editor } from './editor.js';
import { Link } from './link.js';
import { me } from './me.js';
import { byId } from '@page/dom.js';
import { showConnection } from '@page/connection.js';
import { wireTheme } from '@page/theme.js';
import { toast } from '@page/toasts.js';
import { Cursors } from './view/cursors.js';
import { showPeople } from './view/people.js';
import { showSaved, showSize, showWords } from './view/status.js';
import { chosenDocument, wireTitle } from './view/title.js';

wireTheme();
const editor = new Editor(byId('text'), {
    changed: (text) => { cursors.draw(); showWords(text); },
    selected: (selection) => link.select(selection),
});
const cursors = new Cursors(editor);

const link = new Link({ name: me() }, {
    connection: showConnection,
    people: (people, you) => { showPeople(people, you); cursors.keep(people); },
    cursor: (person, selection) => cursors.set(person, selection),
    saved: showSaved,
    size: showSize,
    problem: toast,
    synced: () => { byId('text').disabled = false; },
    /** Changes wait for the end of a composition, which they would break. */
    whenFree: (act) => editor.whenFree(act),

    full (max) {
        toast(`This document is full: it has at most ${Math.round(max / 1024)} KB. What you wrote last was taken back.`);
        begin();
    },
});

/** Opens an empty document, which the server fills. */
function begin () {
    const doc = new Y.Doc();
    cursors.reset();
    editor.bind(doc);
    link.open(chosenDocument(), doc);
}

function choose () {
    byId('text').disabled = true;
    wireTitle();
    begin();
}

byId('offline').addEventListener('click', () => {
    link.setOffline(!link.isOffline);
    byId('offline').setAttribute('aria-pressed', link.isOffline);
});
addEventListener('hashchange', choose);
choose();
