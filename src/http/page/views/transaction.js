// The timeline of one envelope, by its transaction ID.

import { copyable } from '../clipboard.js';
import { h } from '../dom.js';
import { count, instant, latency } from '../format.js';
import { body, empty, pairs, sheet, withKey } from '../parts.js';
import { link, sentence } from './channels.js';

const STEPS = {
  received: 'Received from the client',
  validated: 'Validated',
  enqueued: 'Accepted by the gate',
  acknowledged: 'Durable, and acknowledged to the client',
  consumed: 'Read from the topic',
  cut: 'Cut into a block',
  written: 'Block written',
  delivered: 'Block first delivered',
  refused: 'Rejected',
};

export default {
  id: 'transaction',
  title: 'Transaction',
  maxArguments: 1,
  feeds: ([id]) => (id ? [[`tx/${encodeURIComponent(id)}`, 2000]] : []),
  /** Shows an unknown transaction itself. */
  speaks: true,
  render({ args: [id], values, errors }) {
    const path = `tx/${encodeURIComponent(id)}`;
    const go = (event) => {
      event.preventDefault();
      const wanted = new FormData(event.target).get('id').trim();
      if (wanted !== '') location.hash = `#/transaction/${encodeURIComponent(wanted)}`;
    };
    const form = h('form', { class: 'row', onsubmit: go },
      h('input', { type: 'search', name: 'id', class: 'mono', placeholder: withKey('Transaction ID'), 'aria-label': 'Transaction ID', 'data-search': '', autocomplete: 'off', spellcheck: 'false', key: id ?? '' }),
      h('button', { class: 'act' }, 'Look up'));
    const found = id && values[path];
    return sheet('Transaction', form,
      !id ? empty('The node retains the timelines of at least the newest 50,000 envelopes since it started. Look one up by its transaction ID.')
        : found ? life(found)
          : errors[path]?.status && empty([h('code', { class: 'break' }, id), ' ', sentence(errors[path].message)]));
  },
};

function life(found) {
  const whole = found.steps.at(-1)?.after_us ?? 0;
  let until = 0;
  const rows = found.steps.map((step) => {
    const took = step.after_us - until;
    const width = whole > 0 ? Math.max(0.5, (100 * took) / whole) : 0;
    const x = whole > 0 ? Math.min(100 - width, (100 * until) / whole) : 0;
    until = step.after_us;
    return h('tr', { key: step.step },
      h('td', { class: 'step' }, STEPS[step.step] ?? step.step),
      h('td', { class: 'number' }, latency(step.after_us / 1000)),
      h('td', { class: 'number' }, took > 0 ? `+${latency(took / 1000)}` : ''),
      h('td', { class: 'wide rest' }, h('svg', { class: 'bar', viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        h('rect', { x: x.toFixed(2), width: width.toFixed(2), height: 8 }))));
  });
  return [
    body(pairs(
      ['ID', copyable(found.tx_id, 'transaction ID')],
      ['Channel', found.channel && h('a', { href: link(found.channel) }, found.channel)],
      ['Block', known(found.block) && blockOf(found, found.block)],
      ['Offset', known(found.offset) && count(found.offset)],
      ['Rejected', found.refused],
      ['Received', found.steps.length > 0 && instant(found.steps[0].at_us / 1000)],
      ['Also sent', found.others?.length > 0 && others(found)])),
    h('div', { class: 'scroll' }, h('table', { 'aria-label': 'Timeline' },
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Step'), h('th', { scope: 'col', class: 'number' }, 'After'), h('th', { scope: 'col', class: 'number' }, 'Took'), h('th', { scope: 'col', class: 'rest' }, 'Share'))),
      h('tbody', null, rows))),
  ];
}

const known = (number) => number !== null && number !== undefined;
const blockOf = ({ channel }, number) => h('a', { href: `${link(channel)}/blocks/${number}` }, count(number));

/** Lists the other times that the same transaction was sent, with their outcome, the oldest first. */
function others(found) {
  return found.others.map((life, at) => [
    at > 0 && '; ', instant(life.at_us / 1000), ', ',
    known(life.block) ? ['in block ', blockOf(found, life.block)] : life.refused ? `rejected: ${life.refused}` : 'in no block']);
}
