// The few things that the page does to the document. What people wrote is set as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** An element with a class, and children that are elements or texts. */
export function element (tag, className = '', ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
}

/** The name of a node, in its colour. */
export function chip (node) {
    const shown = element('span', 'chip', node);
    shown.dataset.node = node;
    return shown;
}
