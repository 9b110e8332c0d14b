// The differences between a configuration and the one before.

import { h } from '../dom.js';
import { composed } from '../parts.js';

export function changes(all) {
  const text = (value) => (value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value, null, 1) : String(value));
  const row = (one, at) => h('tr', { key: `${at}` },
    h('td', { class: 'break mono' }, composed(one.path.replace(/^channel_group\//, ''))),
    h('td', null, one.change),
    h('td', null, one.change !== 'added' && h('pre', null, h('del', null, text(one.before))),
      one.change !== 'removed' && h('pre', null, h('ins', null, text(one.after)))));
  return h('table', { class: 'stacked diff', 'aria-label': 'Changes' },
    h('thead', null, h('tr', null, ['Path', 'Change', 'Before and after'].map((title) => h('th', { scope: 'col' }, title)))),
    h('tbody', null, all.map(row)));
}
