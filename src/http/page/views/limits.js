// Rate limits, the senders with their rates, and rejections.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, bytes, count, plural } from '../format.js';
import { badge } from '../health.js';
import { body, commonName, composed, empty, figures, search, sheet } from '../parts.js';
import { table } from '../table.js';

const kept = { clients: { order: ['sent', false] }, organizations: { order: ['sent', false] }, holders: { order: ['bytes', false] }, text: '' };
/** Milliseconds since the last rejection within which it counts as current. */
const LATELY_MS = 10_000;

export default {
  id: 'limits',
  title: 'Senders',
  feeds: () => [['limits', 1000]],
  render({ values, redraw }) {
    const all = values.limits;
    if (all === undefined) return null;
    const text = kept.text.toLowerCase();
    const like = (one) => `${one.name} ${one.organization}`.toLowerCase().includes(text);
    const find = search('Search clients', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    return [
      h('p', { class: 'soft' }, inWords(all.limits)),
      part('Organizations', null, all.organizations, kept.organizations, redraw, all.limits),
      part('Clients', find, all.clients.filter(like), kept.clients, redraw, all.limits),
      memory(all.memory, redraw),
    ];
  },
};

/** How far a connection is; `known` has sent something that an identity of a channel has signed. */
const PHASES = { handshake: 'connecting', greeting: 'no request yet', stranger: 'not authenticated', known: 'authenticated' };

/** Memory that clients make the node hold, and the connections that hold most. */
function memory({ process_bytes: whole, parts, listeners, refusals, connections }, redraw) {
  const names = { incoming: 'Received from clients', outgoing: 'Being sent to clients', blocks: 'Block cache' };
  const part = ({ name, used_bytes: used, limit_bytes: limit, waiting }) =>
    [names[name], bytes(used), `of ${bytes(limit)}${waiting > 0 ? `, ${count(waiting)} waiting` : ''}`, waiting > 0 ? 'busy' : undefined];
  const listener = ({ kind, open, max, refused, closed }) =>
    [`Connections of ${kind}`, count(open), `of ${count(max)}${refused + closed > 0 ? `, ${count(refused + closed)} rejected` : ''}`];
  const whys = { streams: 'too many requests', gate: 'too much in flight', slow: 'slow client', turn: 'slow client, large envelope', answers: 'unread responses' };
  const refusal = ({ why, count: times }) => [`Rejected: ${whys[why]}`, count(times), undefined, 'busy'];
  const columns = [
    { id: 'peer', title: 'Connection', by: (one) => one.peer, wide: true, cell: (one) => [one.peer, ' ', h('span', { class: 'soft' }, one.kind)] },
    { id: 'phase', title: 'Phase', rest: true, by: (one) => one.phase, cell: (one) => h('span', { class: 'nowrap' }, PHASES[one.phase] ?? one.phase) },
    { id: 'streams', title: 'Requests', number: true, rest: true, by: (one) => one.streams, cell: (one) => count(one.streams) },
    { id: 'incoming', title: 'Received', number: true, rest: true, by: (one) => one.incoming_bytes, cell: (one) => bytes(one.incoming_bytes) },
    { id: 'outgoing', title: 'Being sent', number: true, rest: true, by: (one) => one.outgoing_bytes, cell: (one) => bytes(one.outgoing_bytes) },
    { id: 'bytes', title: 'Memory', number: true, by: (one) => one.incoming_bytes + one.outgoing_bytes, cell: (one) => bytes(one.incoming_bytes + one.outgoing_bytes) },
  ];
  const rows = table({ name: 'Memory', columns, rows: connections, key: (one) => one.peer, kept: kept.holders, redraw });
  return sheet(`Memory for clients, of ${bytes(whole)} for the process`, null,
    body(figures(...parts.map(part), ...listeners.map(listener), ...refusals.filter(({ count }) => count > 0).map(refusal))), h('div', { class: 'scroll' }, rows));
}

/** Describes the limits in a sentence. */
function inWords({ rate, client_rate: client, organization_rate: organization }) {
  const parts = [
    rate && `all clients together ${count(rate)} envelopes a second, shared evenly`,
    client && `a client ${count(client)} a second`,
    organization && `an organization ${count(organization)} a second`,
  ].filter(Boolean);
  return parts.length === 0 ? 'No rate limits are set.' : `Rate limits: ${parts.join('; ')}.`;
}

function part(title, end, senders, order, redraw, limits) {
  const limited = limits.rate || limits.client_rate || limits.organization_rate;
  const lately = (one) => one.refused_at_ms !== null && now() - one.refused_at_ms < LATELY_MS;
  const rate = (one) => (one.allowed_per_second === null ? '–' : one.allowed_per_second < 10 ? one.allowed_per_second.toFixed(1) : count(Math.round(one.allowed_per_second)));
  const ofClients = title === 'Clients';
  const columns = [
    { id: 'name', title: ofClients ? 'Client' : 'Organization', by: (one) => one.name, wide: true, cell: (one) => [
      composed(ofClients ? commonName(one.name) || one.name : one.name), ' ', ofClients && h('span', { class: 'soft' }, one.organization),
      lately(one) && h('div', null, badge('busy', 'over its limit'))] },
    { id: 'sent', title: 'Envelopes/s', number: true, by: (one) => one.sent_per_second, cell: (one) => count(one.sent_per_second) },
    limited && { id: 'allowed', title: 'Limit', number: true, rest: true, by: (one) => one.allowed_per_second ?? 0, cell: (one) => (one.active ? rate(one) : 'inactive') },
    { id: 'accepted', title: 'Accepted', number: true, rest: true, by: (one) => one.accepted, cell: (one) => count(one.accepted) },
    { id: 'refused', title: 'Rejected', number: true, rest: senders.every((one) => one.refused === 0), by: (one) => one.refused, cell: (one) => (one.refused === 0 ? '–'
      : [count(one.refused), h('div', { class: 'sub' }, `last ${ago(one.refused_at_ms, now())}`)]) },
  ].filter(Boolean);
  const rows = table({ name: title, columns, rows: senders, key: (one) => `${one.organization} ${one.name}`, kept: order, redraw });
  return sheet(plural(senders.length, title.slice(0, -1).toLowerCase()), end,
    senders.length === 0 ? empty('No envelope was received in the last hour.') : h('div', { class: 'scroll' }, rows));
}
