// A channel's configuration in force, and what it changed.

import { h } from '../dom.js';
import { count } from '../format.js';
import { body, empty, sheet } from '../parts.js';
import { changes } from './changes.js';

export default {
  id: 'channel_config',
  part: 'channels',
  title: ([name]) => `${name}, configuration`,
  feeds: ([name]) => [[`channels/${name}/config`, 15_000]],
  render({ args: [name], values }) {
    const config = values[`channels/${name}/config`];
    if (config === undefined) return null;
    const before = config.previous_block === null ? '' : ` over that of block ${count(config.previous_block)}`;
    return [
      h('div', { class: 'row' }, h('h1', null, h('a', { href: `#/channels/${name}` }, name), ' configuration'),
        h('span', { class: 'soft' }, `sequence ${count(config.sequence)}, in block `, h('a', { href: `#/channels/${name}/blocks/${config.block}` }, count(config.block)))),
      sheet(`Changes${before}`, null, config.changes.length === 0 ? empty('It is the first, or changed nothing.') : changes(config.changes)),
      sheet('In force', null, body(h('pre', { tabindex: 0 }, JSON.stringify(config.config, null, 2)))),
    ];
  },
};
