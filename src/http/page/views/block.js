// One block, decoded.

import { h } from '../dom.js';
import { bytes, count, moment, plural } from '../format.js';
import { body, holder, pairs, sheet, who } from '../parts.js';
import { changes } from './changes.js';

/** The opened envelopes, by block. */
const opened = new Set();

export default {
  id: 'block',
  part: 'channels',
  title: ([name, number]) => `${name}, block ${number}`,
  feeds: ([name, number]) => [[`channels/${name}/blocks/${number}`, 3_600_000], [`channels/${name}`, 5000], [`channels/${name}/config`, 3_600_000]],
  render({ args: [name, number], values, redraw }) {
    const block = values[`channels/${name}/blocks/${number}`];
    if (block === undefined) return null;
    const height = values[`channels/${name}`]?.height ?? block.number + 1;
    const config = values[`channels/${name}/config`];
    const to = (other, text, key) => other >= 0 && other < height
      && h('a', { class: 'button', href: `#/channels/${name}/blocks/${other}`, 'data-key': key, 'aria-keyshortcuts': key }, text);
    return [
      h('div', { class: 'row' },
        h('h1', null, h('a', { href: `#/channels/${name}` }, name), ` block ${count(block.number)}`),
        to(block.number - 1, '← Previous', 'p'), to(block.number + 1, 'Next →', 'n')),
      sheet('Header', null, body(pairs(
        ['Written', block.written_ms ? moment(block.written_ms) : 'before the start of this node'],
        ['Size', bytes(block.bytes)],
        ['Header hash', h('code', null, block.hash)],
        ['Previous hash', h('code', null, block.previous_hash)],
        ['Data hash', h('code', null, block.data_hash)]))),
      config?.block === block.number && config.changes.length > 0 && sheet('What this configuration changed', null, changes(config.changes)),
      sheet(plural(block.envelopes.length, 'envelope'), null,
        block.envelopes.map((envelope, at) => one(envelope, at, block, `${name}/${block.number}/${at}`, redraw))),
      block.block?.metadata && sheet('Metadata', null, body(h('pre', null, JSON.stringify(block.block.metadata, null, 2)))),
    ];
  },
};

function one(envelope, at, block, key, redraw) {
  const toggled = (event) => {
    const open = event.currentTarget.open;
    if (open === opened.has(key)) return;
    if (open) opened.add(key);
    else opened.delete(key);
    redraw();
  };
  const only = block.envelopes.length === 1;
  const summary = h('summary', null,
    h('span', { class: 'soft' }, `${at} `), h('strong', null, words(envelope.type)), ' ',
    envelope.creator ? who(envelope.creator) : null, ' ',
    h('span', { class: 'soft' }, [bytes(envelope.bytes), envelope.timestamp_ms && moment(envelope.timestamp_ms)].filter(Boolean).join(', ')),
    envelope.tx_id && h('div', { class: 'sub soft mono break' }, envelope.tx_id));
  if (only && !opened.has(`${key}!`)) opened.add(key).add(`${key}!`);
  const open = opened.has(key);
  return h('details', { class: 'envelope', open, ontoggle: toggled }, summary, open && h('div', null,
    envelope.problem && h('p', { class: 'notice bad' }, envelope.problem),
    envelope.creator && holder(envelope.creator),
    envelope.tx_id && h('p', null, h('a', { href: `#/transaction/${envelope.tx_id}` }, 'How this envelope went through the node')),
    h('pre', { tabindex: 0 }, JSON.stringify(block.block?.data?.data?.[at] ?? null, null, 2))));
}

const words = (type) => type.toLowerCase().replaceAll('_', ' ');
