// The node's own configuration, with the source of each value.

import { h } from '../dom.js';
import { choices, empty, search, sheet } from '../parts.js';

const kept = { text: '', only: 'set' };

export default {
  id: 'settings',
  title: 'Settings',
  feeds: () => [['config', 60_000]],
  render({ values, redraw }) {
    const config = values.config;
    if (config === undefined) return null;
    const text = kept.text.toLowerCase();
    const is = (one) => kept.only === 'all' || !/^(default|\(embedded)/.test(one.source);
    const shown = config.keys.filter((one) => is(one) && `${one.key} ${one.source} ${write(one)}`.toLowerCase().includes(text));
    const end = [
      choices('Which keys', kept.only, [['set', 'Set here'], ['all', `All ${config.keys.length}`]], (only) => {
        kept.only = only;
        redraw();
      }),
      search('Search settings', kept.text, (value) => {
        kept.text = value;
        redraw();
      }),
    ];
    const row = (one) => h('tr', { key: one.key },
      h('td', null, h('code', { class: 'break' }, one.key)),
      h('td', { class: 'wide break' }, one.hidden ? h('span', { class: 'soft' }, 'hidden') : write(one)),
      h('td', { class: 'soft break' }, one.source));
    return sheet(config.source ? `Settings of ${config.source}` : 'Settings', end, shown.length === 0 ? empty('No key is like that.')
      : h('div', { class: 'scroll' }, h('table', { 'aria-label': 'Settings' },
        h('thead', null, h('tr', null, ['Key', 'Value', 'From'].map((title) => h('th', { scope: 'col' }, title)))), h('tbody', null, shown.map(row)))));
  },
};

const write = ({ value }) => (value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : String(value));
