// Streams of subscribers and senders, the slow ones on top.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, bytes, count, plural, shortName, span } from '../format.js';
import { badge } from '../health.js';
import { choices, commonName, empty, search, sheet } from '../parts.js';
import { table } from '../table.js';
import { link } from './channels.js';

const kept = { order: ['behind', false], text: '', kind: 'deliver' };
/** Milliseconds after which a client that has not accepted a block is slow. */
const SLOW_MS = 1000;

export default {
  id: 'streams',
  title: 'Streams',
  feeds: () => [['streams', 2000]],
  render({ values, redraw }) {
    const streams = values.streams?.streams;
    if (streams === undefined) return null;
    const of = (kind) => streams.filter((one) => one.kind === kind);
    const text = kept.text.toLowerCase();
    const shown = of(kept.kind).filter((one) => `${one.peer} ${one.channel} ${one.msp_id} ${one.subject}`.toLowerCase().includes(text));
    const end = [
      choices('Which streams', kept.kind, [['deliver', `Deliver ${of('deliver').length}`], ['broadcast', `Broadcast ${of('broadcast').length}`], ['step', `Orderers ${of('step').length}`]], (kind) => {
        kept.kind = kind;
        redraw();
      }),
      search('Search streams', kept.text, (value) => {
        kept.text = value;
        redraw();
      }),
    ];
    return sheet('Streams', end, shown.length === 0 ? empty(text === '' ? 'No stream of this kind is open.' : 'No stream matches.')
      : h('div', { class: 'scroll' }, streamTable(shown, redraw, false)));
  },
};

export const slow = (one) => (one.blocked_now_ms ?? 0) >= SLOW_MS;

export function streamTable(streams, redraw, ofOneChannel) {
  const deliver = streams.some((one) => one.kind === 'deliver');
  const broadcast = streams.some((one) => one.kind === 'broadcast');
  const columns = [
    { id: 'client', title: 'Client', by: (one) => one.peer, wide: true, cell: (one) => [
      commonName(one.subject) || one.peer, ' ', one.msp_id && h('span', { class: 'soft' }, one.msp_id),
      one.subject && h('div', { class: 'sub' }, one.peer),
      !ofOneChannel && one.channel && h('div', { class: 'sub narrow' }, shortName(one.channel))] },
    !ofOneChannel && { id: 'channel', title: 'Channel', rest: true, by: (one) => one.channel,
      cell: (one) => (one.channel ? h('a', { href: link(one.channel), 'data-row': '', title: one.channel }, shortName(one.channel)) : '–') },
    deliver && { id: 'behind', title: 'Behind', number: true, by: (one) => [slow(one) ? 1 : 0, one.behind ?? 0, one.blocked_ms ?? 0],
      cell: (one) => [one.behind === null || one.behind === undefined ? '–' : plural(one.behind, 'block'),
        slow(one) && h('div', null, badge('busy', `has not read for ${span(one.blocked_now_ms)}`))] },
    deliver && { id: 'position', title: 'Next block', number: true, more: true, by: (one) => one.position, cell: (one) => count(one.position) },
    deliver && { id: 'blocked', title: 'Blocked', number: true, rest: true, by: (one) => one.blocked_ms, cell: (one) => span(one.blocked_ms ?? NaN) },
    broadcast && { id: 'behind', title: 'In flight', number: true, by: (one) => one.in_work, cell: (one) => count(one.in_work) },
    { id: 'messages', title: deliver ? 'Blocks sent' : broadcast ? 'Envelopes' : 'Requests', number: true, rest: true, by: (one) => one.messages, cell: (one) => count(one.messages) },
    { id: 'bytes', title: 'Bytes', number: true, more: true, by: (one) => one.bytes, cell: (one) => bytes(one.bytes) },
    { id: 'open', title: 'Open for', number: true, rest: true, by: (one) => -one.started_ms, cell: (one) => ago(one.started_ms, now()) },
  ].filter(Boolean);
  return table({ name: 'Streams', columns, rows: streams, key: (one) => one.id, kept, redraw });
}
