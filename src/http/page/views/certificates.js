// Every certificate in use, one row each, with its uses and its expiry.

import { h } from '../dom.js';
import { isoDay, shortName } from '../format.js';
import { commonName, daysLeft, empty, search, sheet } from '../parts.js';
import { table } from '../table.js';

const kept = { order: ['left', true], text: '' };
const MAX_CHANNELS = 3;

export default {
  id: 'certificates',
  title: 'Certificates',
  feeds: () => [['certificates', 60_000]],
  render({ values, redraw }) {
    const all = values.certificates?.certificates;
    if (all === undefined) return null;
    const root = commonDirectory(all.map((one) => one.where).filter((path) => path.startsWith('/')));
    const text = kept.text.toLowerCase();
    const shown = grouped(all, root).filter((one) => one.text.includes(text));
    const find = search('Search certificates', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    return [
      root !== '' && h('p', { class: 'soft break' }, 'Files are relative to ', h('code', null, root)),
      sheet('Certificates', find, shown.length === 0 ? empty('No certificate matches.')
        : h('div', { class: 'scroll' }, table({ name: 'Certificates', columns, rows: shown, key: (one) => one.fingerprint, kept, redraw, kind: 'stacks' }))),
    ];
  },
};

/** Returns the directory that all files are below. */
function commonDirectory(paths) {
  if (paths.length === 0) return '';
  const parts = paths.map((path) => path.split('/').slice(0, -1));
  const length = parts[0].findIndex((part, at) => parts.some((other) => other[at] !== part));
  const common = parts[0].slice(0, length === -1 ? undefined : length).join('/');
  return common === '' ? '' : `${common}/`;
}

/** Returns one entry for each certificate, with all of its uses. */
function grouped(all, root) {
  const found = new Map();
  for (const one of all) {
    const entry = found.get(one.fingerprint) ?? { ...one, uses: [] };
    const use = useOf(one, root);
    // two listeners may share a file
    if (!entry.uses.some((other) => other.kind === use.kind && other.place === use.place)) entry.uses.push(use);
    entry.msp_id ??= one.msp_id;
    found.set(one.fingerprint, entry);
  }
  return [...found.values()].map((one) => ({ ...one, text: `${one.msp_id} ${one.subject} ${one.uses.map((use) => `${use.kind} ${use.place}`).join(' ')}`.toLowerCase() }));
}

/** Names of the uses that are not plain words. */
const USES = { 'root ca': 'root CA', 'intermediate ca': 'intermediate CA', 'tls root ca': 'TLS root CA', 'tls intermediate ca': 'TLS intermediate CA',
  'tls server': 'TLS server', 'tls client': 'TLS client' };

function useOf({ kind, where, pending, channels: names = [], channel_count: total }, root) {
  const use = pending ? `${USES[kind] ?? kind}, not used yet: channels name the previous one` : USES[kind] ?? kind;
  if (names.length === 0) return { kind: use, place: root !== '' && where.startsWith(root) ? where.slice(root.length) : where, title: where };
  const more = (total ?? names.length) - MAX_CHANNELS;
  return { kind: use, place: `${where}: ${names.slice(0, MAX_CHANNELS).map(shortName).join(', ')}${more > 0 ? ` and ${more} more` : ''}`, title: null };
}

const columns = [
  { id: 'left', title: 'Days left', by: (one) => one.days_left, cell: (one) => daysLeft(one.days_left) },
  { id: 'subject', title: 'Certificate', by: (one) => commonName(one.subject), cell: (one) => [
    h('span', { class: 'break' }, commonName(one.subject)), ' ', one.msp_id && h('span', { class: 'soft' }, one.msp_id)] },
  { id: 'uses', title: 'Used as', wide: true, cell: (one) => one.uses.map((use) =>
    h('div', null, use.kind, ' ', h('span', { class: 'sub', title: use.title }, use.place))) },
  { id: 'until', title: 'Valid until', rest: true, by: (one) => one.not_after_ms, cell: (one) => h('span', { class: 'nowrap' }, isoDay(one.not_after_ms)) },
  { id: 'issuer', title: 'Issuer', more: true, by: (one) => commonName(one.issuer), cell: (one) => commonName(one.issuer) },
];
