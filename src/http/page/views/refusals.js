// Rejected envelopes: the signer, the cause, and the rule that was not satisfied.

import { h } from '../dom.js';
import { count, moment } from '../format.js';
import { dot } from '../health.js';
import { empty, holding, pairs, search, sheet, who } from '../parts.js';

const kept = { text: '', opened: new Set() };

export default {
  id: 'refusals',
  title: 'Refusals',
  feeds: () => [['refusals', 3000]],
  render({ values, redraw }) {
    const all = values.refusals;
    if (all === undefined) return null;
    const words = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (one) => `${one.channel} ${one.status} ${one.type} ${one.why} ${one.tx_id} ${one.who?.msp_id} ${one.who?.subject}`.toLowerCase();
    const shown = all.refusals.filter((one) => words.every((word) => text(one).includes(word)));
    const by = Object.entries(all.by_status).map(([status, n]) => `${count(n)} ${plain(status)}`).join(', ');
    const find = search('Search refusals', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    const listed = all.refusals.length;
    return [
      listed < all.total && h('p', { class: 'soft' }, `${count(listed)} are listed: the newest, and of a sender over its rate one a second.`),
      sheet(`${count(all.total)} refused since the start`, [by && h('span', { class: 'soft' }, by), find],
        shown.length === 0 ? empty(all.total === 0 ? 'Nothing was refused.' : 'No refusal is like that.')
          : h('div', null, shown.map((one) => refusal(one, redraw)))),
    ];
  },
};

const plain = (status) => status.toLowerCase().replaceAll('_', ' ');

function refusal(one, redraw) {
  const key = `${one.at_ms} ${one.tx_id} ${one.why}`;
  const open = kept.opened.has(key);
  const toggled = (event) => {
    if (event.currentTarget.open === open) return;
    if (event.currentTarget.open) kept.opened.add(key);
    else kept.opened.delete(key);
    redraw();
  };
  return h('details', { class: 'envelope', open, ontoggle: toggled },
    h('summary', null,
      h('span', { class: 'soft' }, moment(one.at_ms)), ' ', h('strong', null, plain(one.status)), ' ',
      one.channel ? `on ${one.channel} ` : '', one.who && ['from ', who(one.who)],
      h('div', { class: 'break' }, one.why)),
    open && h('div', null,
      pairs(['Transaction', one.tx_id && h('code', null, one.tx_id)], ['Type', plain(one.type)], ...(one.who ? holding(one.who) : [])),
      one.policy && [h('h3', null, 'The policy'), one.policy.signers && h('p', { class: 'break' }, one.policy.signers), h('div', { class: 'tree' }, verdict(one.policy))]));
}

/** Returns a policy's tree with the result of each leaf. */
function verdict(one) {
  const mark = (holds) => [dot(holds ? 'good' : 'bad'), h('span', { class: 'soft' }, holds ? 'holds' : 'does not hold')];
  return h('div', null,
    h('div', { class: 'node' }, mark(one.holds), h('span', { class: 'name break' }, one.path), h('span', { class: 'sub' }, one.rule)),
    h('div', { class: 'leaves' },
      (one.principals ?? []).map((leaf) => h('div', { class: 'node' }, mark(leaf.satisfied), h('span', null, leaf.principal), leaf.why && h('span', { class: 'sub' }, leaf.why))),
      (one.below ?? []).map(verdict)));
}
