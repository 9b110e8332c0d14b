// Rejected envelopes, equal ones in groups: the reason, the signer, and the rule that was not satisfied.

import { copyable, copyButton } from '../clipboard.js';
import { h } from '../dom.js';
import { count, moment, plural, shortName } from '../format.js';
import { badge, dot } from '../health.js';
import { empty, holding, pairs, search, sheet, who } from '../parts.js';
import { sentence } from './channels.js';

const kept = { text: '', opened: new Set() };

/** Maximum number of transactions listed of one group. */
const MAX_LISTED = 20;

export default {
  id: 'refusals',
  title: 'Rejections',
  feeds: () => [['refusals', 3000]],
  render({ values, redraw }) {
    const all = values.refusals;
    if (all === undefined) return null;
    const words = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (one) => `${one.channel} ${one.status} ${one.type} ${one.why} ${one.tx_id} ${one.who?.msp_id} ${one.who?.subject}`.toLowerCase();
    const shown = grouped(all.refusals.filter((one) => words.every((word) => text(one).includes(word))));
    const by = Object.entries(all.by_status).map(([status, n]) => `${count(n)} ${plain(status)}`).join(', ');
    const find = search('Search rejections', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    const listed = all.refusals.length;
    return [
      listed < all.total && h('p', { class: 'soft' }, `The newest ${count(listed)} are listed. Of a sender over its rate limit, one a second is listed.`),
      sheet(`${plural(all.total, 'rejection')} since the node started`, [by && h('span', { class: 'soft' }, by), find],
        shown.length === 0 ? empty(all.total === 0 ? 'No envelope was rejected.' : 'No rejection matches.')
          : h('div', null, shown.map((group) => rejection(group, redraw)))),
    ];
  },
};

const plain = (status) => status.toLowerCase().replaceAll('_', ' ');

/** Returns equal rejections of the same sender as one group, the newest first. */
function grouped(all) {
  const groups = new Map();
  for (const one of all) {
    const key = [one.channel, one.status, one.type, one.why, one.who?.msp_id, one.who?.subject].join('\n');
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups].map(([key, ones]) => ({ key, ones }));
}

/** Splits a text into its short reason and the explanation. That of a policy has the reason in its parenthesis. */
function reasonOf({ why, policy }) {
  const inner = policy && /\((.+?)(?:[:;)]|$)/.exec(why);
  if (inner) return [sentence(inner[1]), why];
  const end = why.search(/[:;](\s|$)|\s\(/);
  return end > 0 ? [sentence(why.slice(0, end)), why] : [sentence(why), ''];
}

function rejection({ key, ones }, redraw) {
  const [one] = ones;
  const open = kept.opened.has(key);
  const toggled = (event) => {
    if (event.currentTarget.open === open) return;
    if (event.currentTarget.open) kept.opened.add(key);
    else kept.opened.delete(key);
    redraw();
  };
  const [reason, explanation] = reasonOf(one);
  const times = ones.length === 1 ? moment(one.at_ms) : `last ${moment(one.at_ms)}`;
  return h('details', { key, class: 'envelope', open, ontoggle: toggled },
    h('summary', null,
      h('strong', { class: 'break' }, reason.replace(/\.$/, '')), ones.length > 1 && [' ', badge('off', `× ${count(ones.length)}`)],
      h('div', { class: 'soft break' }, plain(one.status), one.channel && [' on channel ', h('span', { title: one.channel }, shortName(one.channel))], one.who && [' from ', who(one.who)], `, ${times}`),
      explanation !== '' && !open && h('div', { class: 'break small few' }, explanation)),
    open && h('div', null,
      pairs(
        ['Text', [h('span', { class: 'break' }, one.why), ' ', copyButton(one.why, 'reason')]],
        ['Channel', one.channel && h('span', { class: 'break' }, one.channel)],
        ['Type', plain(one.type)],
        ...(one.who ? holding(one.who) : []),
        [ones.length > 1 ? 'Transactions' : 'Transaction', transactions(ones)]),
      one.policy && [h('h3', null, 'Policy'), one.policy.signers && h('p', { class: 'break' }, one.policy.signers), h('div', { class: 'tree' }, verdict(one.policy))]));
}

function transactions(ones) {
  const named = ones.filter((one) => one.tx_id !== '');
  const more = named.length - MAX_LISTED;
  return named.length > 0 && [
    named.slice(0, MAX_LISTED).map((one) => h('div', null, copyable(one.tx_id, 'transaction ID'), ones.length > 1 && h('span', { class: 'soft' }, ` ${moment(one.at_ms)}`))),
    more > 0 && h('div', { class: 'soft' }, `and ${count(more)} more`)];
}

/** Returns a policy's tree with the result of each leaf. */
function verdict(one) {
  const mark = (holds) => [dot(holds ? 'good' : 'bad'), h('span', { class: 'soft' }, holds ? 'satisfied' : 'not satisfied')];
  return h('div', null,
    h('div', { class: 'node' }, mark(one.holds), h('span', { class: 'name break' }, one.path), h('span', { class: 'sub' }, one.rule)),
    h('div', { class: 'leaves' },
      (one.principals ?? []).map((leaf) => h('div', { class: 'node' }, mark(leaf.satisfied), h('span', null, leaf.principal), leaf.why && h('span', { class: 'sub' }, leaf.why))),
      (one.below ?? []).map(verdict)));
}
