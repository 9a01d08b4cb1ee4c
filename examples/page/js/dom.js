// Helpers for the document. Text of users is set as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** An element with a class, and children that are elements or texts. */
export function element (tag, className = '', ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
}

/** One of the icons of index.html. */
export function icon (name) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    use.setAttribute('href', `#icon-${name}`);
    svg.append(use);
    return svg;
}

/** A button with an icon and a label for assistive technology. */
export function iconButton (name, label, onClick) {
    const button = element('button', 'icon-button', icon(name));
    button.type = 'button';
    button.title = label;
    button.setAttribute('aria-label', label);
    button.addEventListener('click', onClick);
    return button;
}
