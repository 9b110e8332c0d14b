// One channel: its state, pending envelopes, subscribers, and latest blocks.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, bytes, clock, count, moment, span, zone } from '../format.js';
import { state } from '../health.js';
import { historyCharts } from '../history.js';
import { body, empty, figures, meter, pairs, sheet } from '../parts.js';
import { table } from '../table.js';
import { trouble } from './channels.js';
import { kafka } from './kafka.js';
import { streamTable } from './streams.js';

const kept = { order: ['number', false] };
/** States in which blocks are copied from other orderers, and no envelope is accepted. */
const COPYING = ['following', 'onboarding'];
const ENGINES = { raft: 'etcdraft' };

export default {
  id: 'channel',
  part: 'channels',
  title: (args) => args[0],
  hasHeading: true,
  feeds: ([name]) => [[`channels/${name}`, 2000], [`channels/${name}/history`, 5000]],
  render({ args: [name], values, redraw }) {
    const channel = values[`channels/${name}`];
    if (channel === undefined) return null;
    return [
      head(channel),
      channel.level !== 'good' && trouble(channel, true),
      channel.state === 'following' && h('p', null, 'This orderer is not a consenter of the channel. It copies the blocks from other orderers, serves them to subscribers, and rejects envelopes.'),
      channel.height !== undefined && opened(channel, values[`channels/${name}/history`], redraw),
    ];
  },
};

function head(channel) {
  // the type names its engine, unless a setting has another engine serve it
  const orders = !channel.engine || [channel.engine, ENGINES[channel.engine]].includes(channel.consensus_type) ? channel.consensus_type
    : `${channel.consensus_type}, ordered with ${channel.engine}`;
  return h('div', { class: 'row' },
    h('h1', { class: channel.name.length > 64 ? 'long' : null }, channel.name),
    state(channel.level, channel.state),
    channel.since_ms && h('span', { class: 'soft' }, `since ${moment(channel.since_ms)}`),
    h('span', { class: 'soft' }, [orders, channel.is_system_channel && 'system channel'].filter(Boolean).join(', ')));
}

function opened(channel, history, redraw) {
  const parts = [cutter(channel), channel.kafka && kafka(channel)].filter(Boolean);
  return [
    sheet('State', h('a', { href: `#/channels/${channel.name}/config` }, 'Configuration and policies'), body(figuresOf(channel))),
    historyCharts(history, redraw),
    parts.length > 0 && h('div', { class: 'columns' }, parts),
    channel.streams && sheet(`Subscribers ${count(channel.streams.length)}`, null, channel.streams.length === 0
      ? empty('No subscribers.') : h('div', { class: 'scroll' }, streamTable(channel.streams, redraw, true))),
    channel.blocks && blocks(channel, redraw),
  ];
}

function figuresOf(channel) {
  const disk = channel.disk;
  const orders = !COPYING.includes(channel.state);
  return figures(
    ['Height', h('a', { href: block(channel, channel.height - 1) }, count(channel.height))],
    ['Last block', channel.last_block_ms ? `${ago(channel.last_block_ms, now())} ago` : '–', !channel.last_block_ms && 'none since the node started'],
    ['Config sequence', count(channel.config_sequence), ['in block ', h('a', { href: block(channel, channel.last_config_block) }, count(channel.last_config_block))]],
    orders && ['Pending', count(channel.pending), 'acknowledged, in no block yet'],
    orders && ['In flight', bytes(channel.waiting_bytes), `of ${bytes(channel.room_bytes)}`],
    orders && ['Accepted', count(channel.ordered), 'since the node started'],
    channel.raft && consenters(channel.raft),
    disk && ['On disk', bytes(disk.ledger_bytes + disk.pending_bytes), disk.free_bytes !== null && disk.free_bytes !== undefined && `${bytes(disk.free_bytes)} free`],
  );
}

/** Describes the consenters of a Raft channel. Only a leader knows which of them are active. */
function consenters({ is_leader: leads, active_nodes: active, cluster_size: all }) {
  if (active === 0) return ['Consenters', count(all), 'without a leader', 'busy'];
  return ['Consenters', `${count(active)} of ${count(all)}`, `active; ${leads ? 'this node' : 'another one'} leads`, active < all ? 'busy' : null];
}

const block = (channel, number) => `#/channels/${channel.name}/blocks/${number}`;

function cutter({ cutter, limits, state: word }) {
  if (!cutter || !limits || ['failed', ...COPYING].includes(word)) return null;
  const left = cutter.timer_left_ms;
  // the timer of a topic cuts by a message to the brokers
  const timer = left === null ? 'no timer is running' : word === 'retrying' ? 'when the brokers are available' : `in ${span(left)}`;
  const fill = (part, whole, name, write) => [meter(part, whole, name), ` ${write(part)} of ${write(whole)}`];
  return sheet('Next block', null, body(pairs(
    ['Envelopes', fill(cutter.envelopes, limits.max_message_count, 'Envelopes for the next block', count)],
    ['Bytes', fill(cutter.bytes, limits.preferred_max_bytes, 'Bytes for the next block', bytes)],
    ['Cut at the latest', timer],
    ['Batch timeout', span(limits.batch_timeout_ms)],
    ['Largest envelope', bytes(limits.absolute_max_bytes)],
  )));
}

function blocks(channel, redraw) {
  const columns = [
    { id: 'number', title: 'Block', by: (one) => one.number, cell: (one) => h('a', { href: block(channel, one.number), 'data-row': '' }, count(one.number)) },
    { id: 'written', title: `Written (${zone()})`, by: (one) => one.written_ms, cell: (one) => h('span', { class: 'nowrap' }, one.written_ms ? clock(one.written_ms) : 'before the start') },
    { id: 'envelopes', title: 'Envelopes', number: true, by: (one) => one.envelopes, cell: (one) => count(one.envelopes) },
    { id: 'bytes', title: 'Size', number: true, rest: true, by: (one) => one.bytes, cell: (one) => bytes(one.bytes) },
    { id: 'hash', title: 'Header hash', rest: true, wide: true, cell: (one) => h('code', { class: 'soft' }, one.hash.slice(0, 16)) },
  ];
  const go = (event) => {
    event.preventDefault();
    const wanted = new FormData(event.target).get('number').trim().replaceAll(',', '');
    if (/^([0-9]+|newest|oldest|config)$/.test(wanted)) location.hash = `${block(channel, wanted)}`;
  };
  const finder = h('form', { class: 'row', onsubmit: go },
    h('input', { type: 'text', name: 'number', size: 12, placeholder: 'Block number', 'aria-label': 'Block number', inputmode: 'numeric' }),
    h('button', { class: 'act' }, 'Open'));
  return sheet('Latest blocks', finder, channel.blocks.length === 0 ? empty('No block is in memory.')
    : h('div', { class: 'scroll' }, table({ name: 'Latest blocks', columns, rows: channel.blocks, key: (one) => one.number, kept, redraw })));
}
