// One block, decoded.

import { copyable, copyButton } from '../clipboard.js';
import { h } from '../dom.js';
import { bytes, count, moment, plural, shortName } from '../format.js';
import { state } from '../health.js';
import { body, holder, pairs, sheet, who } from '../parts.js';
import { changes } from './changes.js';

/** The opened envelopes, by block. */
const opened = new Set();

export default {
  id: 'block',
  part: 'channels',
  title: ([name, number]) => `${name}, block ${number}`,
  hasHeading: true,
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
        h('h1', null, h('a', { href: `#/channels/${name}`, title: name }, shortName(name)), ` block ${count(block.number)}`),
        to(block.number - 1, '← Previous', 'p'), to(block.number + 1, 'Next →', 'n')),
      sheet('Header', null, body(pairs(
        ['Written', block.written_ms ? moment(block.written_ms) : 'before this node started'],
        ['Size', bytes(block.bytes)],
        ['Header hash', copyable(block.hash, 'header hash')],
        ['Previous hash', copyable(block.previous_hash, 'previous hash')],
        ['Data hash', copyable(block.data_hash, 'data hash')]))),
      block.metadata && signatures(block.metadata, name),
      config?.block === block.number && config.changes.length > 0 && sheet('Changes by this configuration', null, changes(config.changes)),
      sheet(plural(block.envelopes.length, 'envelope'), null,
        block.envelopes.map((envelope, at) => one(envelope, at, block, `${name}/${block.number}/${at}`, redraw))),
      block.block?.metadata && sheet('Metadata as JSON', copyButton(JSON.stringify(block.block.metadata, null, 2), 'metadata'),
        body(h('pre', { tabindex: 0, 'aria-label': 'Metadata as JSON' }, JSON.stringify(block.block.metadata, null, 2)))),
    ];
  },
};

/** Returns the decoded metadata: the signers, and whether their signatures satisfy the policy. */
function signatures({ signers, last_config_block: config, validation }, name) {
  const { satisfied, policy, config_block: from, why } = validation;
  const result = satisfied === null ? state('off', 'not evaluated') : satisfied ? state('good', 'satisfied') : state('bad', 'not satisfied');
  const link = (number) => h('a', { href: `#/channels/${name}/blocks/${number}` }, count(number));
  return sheet('Metadata', null, body(pairs(
    ['Signed by', signers.length === 0 ? 'nobody' : signers.map((signer) => h('div', null, who(signer)))],
    [policy.split('/').at(-1), [result, ' ', h('span', { class: 'soft' }, policy, from !== null && [' in block ', link(from)]), why && h('div', { class: 'break' }, why)]],
    ['Last config block', link(config)])));
}

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
    envelope.creator ? [who(envelope.creator), ', '] : null,
    h('span', { class: 'soft' }, [bytes(envelope.bytes), envelope.timestamp_ms && moment(envelope.timestamp_ms)].filter(Boolean).join(', ')),
    envelope.tx_id && h('div', { class: 'sub soft mono break' }, envelope.tx_id));
  if (only && !opened.has(`${key}!`)) opened.add(key).add(`${key}!`);
  const open = opened.has(key);
  return h('details', { class: 'envelope', open, ontoggle: toggled }, summary, open && h('div', null,
    envelope.problem && h('p', { class: 'notice bad' }, envelope.problem),
    envelope.creator && holder(envelope.creator),
    envelope.tx_id && h('p', { class: 'row' }, h('a', { href: `#/transaction/${encodeURIComponent(envelope.tx_id)}` }, 'Timeline of this envelope'), copyButton(envelope.tx_id, 'transaction ID', 'Copy transaction ID')),
    h('pre', { tabindex: 0, 'aria-label': `Envelope ${at} as JSON` }, JSON.stringify(block.block?.data?.data?.[at] ?? null, null, 2))));
}

const words = (type) => type.toLowerCase().replaceAll('_', ' ');
