// The node's own configuration, with the source of each value.

import { h } from '../dom.js';
import { choices, composed, empty, search, sheet } from '../parts.js';

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
      choices('Which keys', kept.only, [['set', 'Changed'], ['all', `All ${config.keys.length}`]], (only) => {
        kept.only = only;
        redraw();
      }),
      search('Search settings', kept.text, (value) => {
        kept.text = value;
        redraw();
      }),
    ];
    // sources are named as seen from the directory of the configuration file
    const folder = config.source?.includes('/') ? config.source.slice(0, config.source.lastIndexOf('/') + 1) : '\n';
    const row = (one) => h('tr', { key: one.key },
      h('td', { class: 'break' }, h('code', null, composed(one.key))),
      h('td', { class: 'break' }, one.hidden ? h('span', { class: 'soft' }, 'hidden') : composed(write(one))),
      h('td', { class: 'soft break', title: one.source }, composed(one.source.startsWith(folder) ? one.source.slice(folder.length) : one.source)));
    return [
      config.source && h('p', { class: 'soft break' }, 'Read from ', h('code', null, config.source)),
      sheet('Settings', end, shown.length === 0 ? empty('No key matches.')
        : h('table', { class: 'stacked settings', 'aria-label': 'Settings' },
          h('thead', null, h('tr', null, ['Key', 'Value', 'Source'].map((title) => h('th', { scope: 'col' }, title)))), h('tbody', null, shown.map(row)))),
    ];
  },
};

const write = ({ value }) => (value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : String(value));
