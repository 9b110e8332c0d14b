// Every certificate in use, with its expiry.

import { h } from '../dom.js';
import { isoDay } from '../format.js';
import { commonName, daysLeft, empty, search, sheet } from '../parts.js';
import { table } from '../table.js';

const kept = { order: ['left', true], text: '' };

export default {
  id: 'certificates',
  title: 'Certificates',
  feeds: () => [['certificates', 60_000]],
  render({ values, redraw }) {
    const all = values.certificates?.certificates;
    if (all === undefined) return null;
    const text = kept.text.toLowerCase();
    const shown = all.filter((one) => `${one.kind} ${one.msp_id} ${one.subject} ${one.where} ${one.channels?.join(' ')}`.toLowerCase().includes(text));
    const find = search('Search certificates', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    return sheet('Certificates', find, shown.length === 0 ? empty('No certificate is like that.')
      : h('div', { class: 'scroll' }, table({ name: 'Certificates', columns, rows: shown, key, kept, redraw })));
  },
};

const key = (one) => `${one.kind} ${one.serial} ${one.subject} ${one.where} ${one.msp_id}`;

const columns = [
  { id: 'left', title: 'Days left', by: (one) => one.days_left, cell: (one) => daysLeft(one.days_left) },
  { id: 'subject', title: 'Certificate', by: (one) => commonName(one.subject), wide: true,
    cell: (one) => [commonName(one.subject), ' ', one.msp_id && h('span', { class: 'soft' }, one.msp_id), h('div', { class: 'sub' }, used(one))] },
  { id: 'kind', title: 'Used as', by: (one) => one.kind, cell: (one) => h('span', { class: 'nowrap' }, one.kind) },
  { id: 'until', title: 'Valid until', rest: true, by: (one) => one.not_after_ms, cell: (one) => h('span', { class: 'nowrap' }, isoDay(one.not_after_ms)) },
  { id: 'issuer', title: 'Issuer', rest: true, by: (one) => commonName(one.issuer), cell: (one) => commonName(one.issuer) },
];

function used(one) {
  if (one.pending) return `not used yet: ${channels(one)} ${one.channel_count === 1 ? 'names' : 'name'} the previous one (${one.where})`;
  const names = one.channels ?? [];
  return names.length === 0 ? one.where : `${one.where}: ${channels(one)}`;
}

function channels(one) {
  const names = one.channels ?? [];
  const more = (one.channel_count ?? names.length) - 3;
  return `${names.slice(0, 3).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
