// Keyboard shortcuts.

import { show } from './dialog.js';
import { h } from './dom.js';

/** Installs the shortcuts. `views` are the IDs in the order of the digits. */
export function shortcuts(views) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    const typing = event.target.matches('input, textarea, select');
    if (typing) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const action = actions(event.key, views());
    if (action) {
      event.preventDefault();
      action();
    }
  });
}

function actions(key, views) {
  if (/^[1-9]$/.test(key) && views[key - 1]) return () => (location.hash = `#/${views[key - 1]}`);
  const linked = /^[a-z]$/.test(key) && document.querySelector(`[data-key='${key}']`);
  if (linked) return () => linked.click();
  switch (key) {
    case '/': return () => document.querySelector('[data-search]')?.focus();
    case 'j': return () => move(1);
    case 'k': return () => move(-1);
    case 'r': return () => document.querySelector('main [data-restart]:enabled')?.click();
    case 'u': return () => (location.hash = location.hash.split('/').slice(0, location.hash.includes('/blocks/') ? -2 : -1).join('/') || '#/channels');
    case '?': return () => show(help(views.length));
    default: return null;
  }
}

/** Focuses the link of the next row, or of the one before. */
function move(by) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  const at = rows.indexOf(document.activeElement);
  rows[at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))]?.focus();
}

function help(views) {
  const rows = [
    [`1 … ${views}`, 'open a view'], ['/', 'search'], ['j  k', 'next and previous row'], ['Enter', 'open the row'], ['u', 'up one level'],
    ['p  n', 'previous and next block'], ['r', 'restart the first failed channel'], ['Esc', 'leave a field or a dialog'],
  ];
  return [h('h2', { id: 'asked' }, 'Keys'), h('dl', { class: 'pairs' }, rows.map(([keys, what]) => [h('dt', null, h('kbd', null, keys)), h('dd', null, what)]))];
}
