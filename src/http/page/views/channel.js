// One channel: its state, pending envelopes, subscribers, and latest blocks.

import { cut, remember } from '../events.js';
import { chart, rates } from '../chart.js';
import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, bytes, count, moment, plural, short, span } from '../format.js';
import { state } from '../health.js';
import { body, empty, figures, meter, pairs, sheet } from '../parts.js';
import { table } from '../table.js';
import { trouble } from './channels.js';
import { kafka } from './kafka.js';
import { latencyChart, latencyFeed } from './latency.js';
import { streamTable } from './streams.js';

const SHOWN_MS = 5 * 60_000;
const STEP_MS = 5000;
/** Maximum number of blocks in a channel's response. */
const NEWEST = 50;
const kept = { order: ['number', false] };

export default {
  id: 'channel',
  part: 'channels',
  title: (args) => args[0],
  feeds: ([name]) => [[`channels/${name}`, 2000], latencyFeed],
  render({ args: [name], values, redraw }) {
    const channel = values[`channels/${name}`];
    if (channel === undefined) return null;
    for (const block of channel.blocks ?? []) {
      if (block.written_ms) remember(name, block.number, block.written_ms, block.envelopes);
    }
    return [
      head(channel),
      channel.level !== 'good' && trouble(channel),
      channel.height !== undefined && opened(channel, values.config, redraw),
    ];
  },
};

function head(channel) {
  const orders = channel.engine === channel.consensus_type || !channel.engine ? channel.consensus_type
    : `${channel.consensus_type}, ordered by ${channel.engine}`;
  return h('div', { class: 'row' },
    h('h1', null, channel.name),
    state(channel.level, channel.state),
    channel.since_ms && h('span', { class: 'soft' }, `since ${moment(channel.since_ms)}`),
    h('span', { class: 'soft' }, [orders, channel.is_system_channel && 'system channel'].filter(Boolean).join(', ')));
}

function opened(channel, config, redraw) {
  return [
    sheet('Now', h('a', { href: `#/channels/${channel.name}/config` }, 'Configuration'), body(now_(channel))),
    h('div', { class: 'columns' }, channel.blocks && rate(channel, redraw), latencyChart(channel.name, config, redraw)),
    h('div', { class: 'columns' }, cutter(channel), channel.kafka && kafka(channel)),
    channel.streams && sheet(`Subscribers ${count(channel.streams.length)}`, null, channel.streams.length === 0
      ? empty('Nobody reads this channel now.') : h('div', { class: 'scroll' }, streamTable(channel.streams, redraw, true))),
    channel.blocks && blocks(channel, redraw),
    channel.policies && rules(channel),
  ];
}

function now_(channel) {
  const disk = channel.disk;
  return figures(
    ['Height', h('a', { href: block(channel, channel.height - 1) }, count(channel.height))],
    ['Last block', channel.last_block_ms ? `${ago(channel.last_block_ms, now())} ago` : '–', !channel.last_block_ms && 'none since the start'],
    ['Config sequence', count(channel.config_sequence), ['in block ', h('a', { href: block(channel, channel.last_config_block) }, count(channel.last_config_block))]],
    ['Pending', count(channel.pending), 'taken in, in no block yet'],
    ['At the gate', bytes(channel.waiting_bytes), `room for ${bytes(channel.room_bytes)}`],
    ['Ordered', count(channel.ordered), 'since the start'],
    disk && ['On disk', bytes(disk.ledger_bytes + disk.pending_bytes), disk.free_bytes !== null && disk.free_bytes !== undefined && `${bytes(disk.free_bytes)} free`],
  );
}

const block = (channel, number) => `#/channels/${channel.name}/blocks/${number}`;

function rate(channel, redraw) {
  // whole steps, so that points already drawn do not move
  const to = Math.floor(now() / STEP_MS) * STEP_MS;
  const from = to - SHOWN_MS;
  const happened = [...(cut.get(channel.name)?.values() ?? [])];
  // a chain that is shown completely had no blocks before the oldest one with a time
  const whole = channel.blocks.length < NEWEST || channel.blocks.some((block) => !block.written_ms);
  const known = whole ? 0 : Math.min(...happened.map(([at]) => at));
  const per = (what) => rates(happened.map(([at, envelopes]) => [at, what === 'blocks' ? 1 : envelopes]), from, to, STEP_MS, known);
  return [
    chart({ name: 'Envelopes ordered per second', points: per('envelopes'), format: short, redraw, from, to }),
    chart({ name: 'Blocks per second', points: per('blocks'), format: short, redraw, from, to }),
  ].map((one) => h('section', { class: 'sheet' }, body(one)));
}

function cutter({ cutter, limits, state: word }) {
  if (!cutter || !limits || word === 'failed') return null;
  const left = cutter.timer_left_ms;
  // a topic's timer cuts by a message to the brokers
  const timer = left === null ? 'no timer runs' : word === 'retrying' ? 'when the brokers are back' : `in ${span(left)}`;
  const fill = (part, whole, name, write) => [meter(part, whole, name), ` ${write(part)} of ${write(whole)}`];
  return sheet('Next block', null, body(pairs(
    ['Envelopes', fill(cutter.envelopes, limits.max_message_count, 'Envelopes for the next block', count)],
    ['Bytes', fill(cutter.bytes, limits.preferred_max_bytes, 'Bytes for the next block', bytes)],
    ['Cut anyway', timer],
    ['Batch timeout', span(limits.batch_timeout_ms)],
    ['Largest envelope', bytes(limits.absolute_max_bytes)],
  )));
}

function blocks(channel, redraw) {
  const columns = [
    { id: 'number', title: 'Block', by: (one) => one.number, cell: (one) => h('a', { href: block(channel, one.number), 'data-row': '' }, count(one.number)) },
    { id: 'written', title: 'Written', by: (one) => one.written_ms, cell: (one) => h('span', { class: 'nowrap' }, one.written_ms ? moment(one.written_ms) : 'before the start') },
    { id: 'envelopes', title: 'Envelopes', number: true, by: (one) => one.envelopes, cell: (one) => count(one.envelopes) },
    { id: 'bytes', title: 'Size', number: true, by: (one) => one.bytes, cell: (one) => bytes(one.bytes) },
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
  return sheet('Newest blocks', finder, channel.blocks.length === 0 ? empty('None is in memory.')
    : h('div', { class: 'scroll' }, table({ name: 'Newest blocks', columns, rows: channel.blocks, key: (one) => one.number, kept, redraw })));
}

function rules(channel) {
  const rows = channel.policies.map((one) => h('tr', { key: one.path }, h('td', null, h('code', null, one.path)), h('td', { class: 'wide break' }, one.rule)));
  return sheet('Policies', channel.organizations && h('span', { class: 'soft' }, plural(channel.organizations.length, 'organization'), ': ', channel.organizations.join(', ')),
    h('div', { class: 'scroll' }, h('table', { 'aria-label': 'Policies' },
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Policy'), h('th', { scope: 'col' }, 'Satisfied by'))), h('tbody', null, rows))));
}
