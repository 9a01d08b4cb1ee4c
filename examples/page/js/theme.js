// The theme: that of the system, until the user chooses the other one.

const KEY = 'pond-theme';
const system = matchMedia('(prefers-color-scheme: dark)');

export function wireTheme () {
    apply(localStorage.getItem(KEY));
    for (const button of document.querySelectorAll('[data-theme-toggle]')) button.addEventListener('click', toggle);
}

function toggle () {
    const root = document.documentElement;
    const wanted = (root.dataset.theme ?? systemTheme()) === 'dark' ? 'light' : 'dark';
    if (wanted === systemTheme()) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, wanted);
    apply(localStorage.getItem(KEY));
}

function apply (theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
}

function systemTheme () {
    return system.matches ? 'dark' : 'light';
}
