// Other orderers of the channels that Raft orders: whether each is connected, why not, and what waits to be sent to it.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, count, shortName, span } from '../format.js';
import { state } from '../health.js';
import { body, composed, daysLeft, empty, figures, search, sheet } from '../parts.js';
import { table } from '../table.js';
import { link } from './channels.js';

const kept = { peers: { order: ['state', false] }, text: '' };
const LEVELS = { connected: 'good', connecting: 'busy', waiting: 'bad', impossible: 'bad', closed: 'off' };
const RANKS = { good: 0, off: 1, busy: 2, bad: 3 };
const DAY_MS = 86_400_000;

export default {
  id: 'orderers',
  title: 'Orderers',
  feeds: () => [['orderers', 2000]],
  appears: (channels) => channels.some((one) => one.engine === 'raft'),
  render({ values, redraw }) {
    const all = values.orderers;
    if (all === undefined) return null;
    const peers = all.channels.flatMap(({ channel, peers: others }) => others.map((peer) => ({ channel, ...peer })));
    const text = kept.text.toLowerCase();
    const shown = peers.filter((one) => `${one.channel} ${one.endpoint} ${one.state} ${one.last_error ?? ''}`.toLowerCase().includes(text));
    const find = search('Search orderers', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    return [
      sheet('Other consenters', find, shown.length === 0 ? empty(peers.length === 0 ? 'No channel has another consenter.' : 'No orderer matches.')
        : h('div', { class: 'scroll' }, table({ name: 'Orderers', columns, rows: shown, key, kept: kept.peers, redraw, kind: 'orderers' }))),
      incoming(all.incoming),
    ];
  },
};

const key = (one) => `${one.channel} ${one.id}`;
const level = (one) => LEVELS[one.state] ?? 'off';

const columns = [
  { id: 'endpoint', title: 'Orderer', by: (one) => one.endpoint, wide: true,
    cell: (one) => [composed(one.endpoint), h('div', { class: 'sub narrow' }, shortName(one.channel))] },
  { id: 'channel', title: 'Channel', rest: true, by: (one) => one.channel,
    cell: (one) => h('a', { href: link(one.channel), 'data-row': '', title: one.channel }, shortName(one.channel)) },
  { id: 'id', title: 'ID', number: true, more: true, by: (one) => one.id, cell: (one) => count(one.id) },
  { id: 'state', title: 'Connection', by: (one) => RANKS[level(one)],
    cell: (one) => [state(level(one), one.state), h('div', { class: 'sub' }, detail(one))] },
  { id: 'waiting', title: 'Queued', number: true, rest: true, by: (one) => one.consensus.length + one.submit.length,
    cell: (one) => count(one.consensus.length + one.submit.length) },
  { id: 'dropped', title: 'Dropped', number: true, rest: true, by: (one) => one.consensus.dropped + one.submit.dropped,
    cell: (one) => count(one.consensus.dropped + one.submit.dropped) },
  { id: 'sent', title: 'Sent', number: true, more: true, by: (one) => one.consensus.sent + one.submit.sent,
    cell: (one) => count(one.consensus.sent + one.submit.sent) },
  { id: 'certificate', title: 'Its certificate', rest: true, by: (one) => one.certificate_expires_ms,
    cell: (one) => (one.certificate_expires_ms === null ? '–' : daysLeft(Math.floor((one.certificate_expires_ms - now()) / DAY_MS))) },
];

/** Describes since when the connection is open, or why it is not and when the next attempt is. */
function detail(one) {
  if (one.state === 'connected') return `for ${ago(one.since_ms, now())}`;
  const next = one.next_attempt_ms !== null && one.next_attempt_ms > now() ? `next attempt in ${span(one.next_attempt_ms - now())}` : null;
  const failed = one.failures > 0 ? `failed attempts: ${count(one.failures)}` : null;
  return [one.last_error, failed, next].filter(Boolean).join('; ');
}

function incoming({ streams, consensus, submit, dropped, refused }) {
  return sheet('Received from other orderers', null, body(figures(
    ['Open streams', count(streams)],
    ['Consensus messages', count(consensus), dropped > 0 ? `${count(dropped)} dropped` : undefined],
    ['Transactions', count(submit)],
    ['Rejected requests', count(refused), undefined, refused > 0 ? 'busy' : undefined])));
}
