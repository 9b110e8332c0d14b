// Issues that need an operator, the node's figures, and every channel.

import { spark } from '../chart.js';
import { conversation, now } from '../data.js';
import { h } from '../dom.js';
import { ago, count, latency, moment, plural, short, shortName } from '../format.js';
import { notice, rank, state } from '../health.js';
import { POINTS } from '../history.js';
import { choices, empty, search, sheet } from '../parts.js';
import { table } from '../table.js';
import { nodeFigures } from './node.js';
import { restartButton, nextAttempt } from './restart.js';

const kept = { order: ['busy', false], text: '', only: 'all' };
/** Maximum number of issues shown in full. */
const MAX_ISSUES = 5;

export default {
  id: 'channels',
  title: 'Channels',
  feeds: () => [['channels', 5000], ['warnings', 5000], ['history', 5000]],
  render({ values, redraw }) {
    const channels = values.channels?.channels;
    if (channels === undefined) return null;
    return [notices(channels, values.warnings?.warnings ?? []), nodeFigures(values.history), all(withHistory(channels, values.history), redraw)];
  },
};

/** Returns the channels with their rates and the points of their small charts. */
function withHistory(channels, history) {
  const busy = new Map(history?.channels.map((one) => [one.name, one]));
  return channels.map((channel) => {
    const { envelopes_per_second: rate, rejected_per_second: rejected, p99_ms: p99, points } = busy.get(channel.name) ?? {};
    const mean = points ? points.reduce((sum, one) => sum + one, 0) / POINTS : 0;
    return { ...channel, rate: rate ?? 0, rejected: rejected ?? 0, p99: p99 ?? null, points: points ?? null, mean };
  });
}

function notices(channels, warnings) {
  const groups = new Map();
  for (const one of channels.filter((channel) => channel.level !== 'good')) {
    // one cause of many channels is shown once
    const key = one.state === 'failed' ? one.name : `${one.state} ${one.cause ?? ''}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const troubles = [...groups.values()].sort(([a], [b]) => rank(b.level) - rank(a.level));
  // the channels that are shown one by one, with their levels: a graver warning about them is shown too
  const told = new Map(troubles.slice(0, MAX_ISSUES).flat().map((one) => [one.name, rank(one.level)]));
  const others = warnings.filter((one) => !one.about?.length || one.about.length < one.count || !one.about.every((name) => told.get(name) >= rank(one.level)));
  const rest = troubles.slice(MAX_ISSUES).reduce((sum, group) => sum + group.length, 0);
  // if not all are shown, the totals come first
  const sums = rest > 0 ? others.filter((one) => rank(one.level) >= rank(troubles[0][0].level)) : [];
  return h('div', { class: 'notices' },
    sums.map(warning),
    troubles.slice(0, MAX_ISSUES).map((group) => (group.length === 1 ? trouble(group[0]) : troubleOfMany(group))),
    rest > 0 && h('p', { class: 'soft' }, `${plural(rest, 'more channel')} in the table below.`),
    others.filter((one) => !sums.includes(one)).map(warning),
    // a node that does not respond may have any problem
    troubles.length + others.length === 0 && conversation.silentSince === 0 && h('p', { class: 'quiet' }, 'No problems detected.'));
}

function troubleOfMany(group) {
  const [one] = group;
  const names = group.slice(0, 8).flatMap((channel, at) => [at > 0 && ', ', h('a', { href: link(channel.name), title: channel.name }, shortName(channel.name))]);
  const more = group.length - 8;
  return notice(one.level, `${plural(group.length, 'channel')} ${headlines[one.state] ?? `are ${one.state}`}`,
    causeOf(one),
    one.state === 'retrying' && h('p', { class: 'todo' }, 'Check the brokers. The channels continue by themselves when the brokers are available again.'),
    one.state === 'electing' && leaderless(),
    h('p', { class: 'soft' }, names, more > 0 && ` and ${count(more)} more`));
}

const headlines = {
  retrying: 'have no working Kafka cluster',
  awaitingkey: 'wait for the signing key',
  restarting: 'are being restarted',
  connecting: 'are connecting to their Kafka cluster',
  catchingup: 'are catching up',
  electing: 'have no Raft leader',
  onboarding: 'are receiving their blocks from other orderers',
  running: 'are running with problems',
};

/** Returns the issue of a channel that is not ready: the cause, and the action. `own` tells that it is on the channel's own view. */
export function trouble(channel, own = false) {
  const name = own ? 'This channel' : h('a', { href: link(channel.name), title: channel.name }, shortName(channel.name));
  return notice(channel.level, [name, ' ', headline(channel)],
    causeOf(channel),
    channel.action ? h('p', { class: 'todo' }, sentence(channel.action)) : nextAttempt(channel),
    channel.state === 'electing' && leaderless(),
    h('div', { class: 'row' },
      channel.state === 'failed' && restartButton(channel.name),
      h('a', { href: `#/logs/${encodeURIComponent(channel.name)}` }, 'Log lines of this channel')));
}

/** Returns the cause of a channel's state, or what the state needs to end. */
function causeOf(channel) {
  switch (channel.state) {
    case 'electing': return h('p', null, 'A leader is elected when more than half of the consenters are connected to each other. Until then envelopes are accepted, but no block is cut.');
    case 'connecting': return h('p', null, 'The first connection to its brokers is being established. If this lasts, check the addresses of the brokers and the network to them.');
    case 'onboarding': return h('p', null, `Block ${count(channel.next)} of ${count(channel.to)} is next. When it has all of them, the channel ${channel.consents ? 'accepts envelopes' : 'follows the other orderers'}.`);
    default: return h('p', null, sentence(channel.cause ?? channel.says));
  }
}

const leaderless = () => h('p', { class: 'todo' }, 'Start the orderers that are down, and repair the connections that ', h('a', { href: '#/orderers' }, 'Orderers'), ' shows as broken.');

function headline(channel) {
  const since = channel.since_ms ? ` for ${ago(channel.since_ms, now())}` : '';
  switch (channel.state) {
    case 'failed': return `has failed${since && ` (${moment(channel.since_ms)},${since.slice(4)} ago)`}`;
    case 'retrying': return `has had no working Kafka cluster${since}`;
    case 'awaitingkey': return `has waited for the signing key${since}`;
    case 'restarting': return 'is being restarted';
    case 'connecting': return `has been connecting to its Kafka cluster${since}`;
    case 'catchingup': return 'is catching up';
    case 'electing': return `has had no Raft leader${since}`;
    case 'onboarding': return 'is receiving its blocks from other orderers';
    case 'running': return 'is running with problems';
    default: return `is ${channel.state}`;
  }
}

export const sentence = (text) => {
  const trimmed = text.trim();
  return trimmed === '' ? '' : trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
};

function warning(one) {
  return notice(one.level, sentence(one.text),
    one.about?.length > 0 && h('p', { class: 'soft' }, about(one)),
    one.action && h('p', { class: 'todo' }, sentence(one.action)),
    PLACES.filter(([what]) => what.test(one.text)).map(([, id, title]) => h('p', null, h('a', { href: `#/${id}` }, title))));
}

/** Views with details on the subject of a warning. */
const PLACES = [
  [/^\d+ subscriber/, 'streams', 'Streams'],
  [/^\d+ certificate/, 'certificates', 'Certificates'],
  [/^\d+ (actor|thread)/, 'actors', 'Actors'],
  [/^\d+ (orderer|consenter)|consenters that do not respond/, 'orderers', 'Orderers'],
];

function about(one) {
  const more = one.count - one.about.length;
  // a path is needed in full
  return one.about.map((name) => (name.includes('/') ? name : shortName(name))).join(', ') + (more > 0 && one.about.length === 20 ? ` and ${more} more` : '');
}

export const link = (name) => `#/channels/${encodeURIComponent(name)}`;

function all(channels, redraw) {
  const only = (level) => channels.filter((one) => one.level === level).length;
  const tabs = [['all', `All ${count(channels.length)}`], ['bad', `Need attention ${only('bad')}`], ['busy', `Not ready ${only('busy')}`]];
  const shown = channels.filter((one) => (kept.only === 'all' || one.level === kept.only) && matches(one));
  const end = [
    choices('Which channels', kept.only, tabs, (value) => {
      kept.only = value;
      redraw();
    }),
    search('Search channels', kept.text, (text) => {
      kept.text = text;
      redraw();
    }),
  ];
  const list = shown.length === 0
    ? empty(channels.length === 0 ? 'This node has no channels yet. Join one with osnadmin channel join.' : 'No channel matches.')
    : table({ name: 'Channels', columns: columnsOf(channels), others: columns, rows: shown, key: (one) => one.name, kept, redraw, kind: 'channels', sign });
  return sheet('Channels', end, h('div', { class: 'scroll' }, list));
}

function matches(channel) {
  const words = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${channel.name} ${channel.state} ${channel.engine} ${channel.cause ?? ''}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** `holds` tells whether a row has a value; a column in which no row has one is left out. */
const columns = [
  { id: 'name', title: 'Channel', by: (one) => one.name, wide: true,
    cell: (one) => h('a', { href: link(one.name), 'data-row': '', title: one.name }, shortName(one.name)) },
  { id: 'state', title: 'State', by: (one) => [rank(one.level), one.state, reverse(one.name)],
    cell: (one) => state(one.level, one.state) },
  { id: 'rate', title: 'Envelopes/s', number: true, by: (one) => one.rate, holds: (one) => one.points !== null, cell: (one) => short(one.rate) },
  { id: 'busy', title: '15 minutes', rest: true, holds: (one) => one.points !== null,
    // the mean, so that rows do not change places with every sample; channels with problems come first
    by: (one) => [rank(one.level), one.mean, reverse(one.name)],
    cell: (one) => (one.points === null ? '' : spark(one.points, POINTS, `${short(one.mean)} envelopes a second on average`)) },
  { id: 'p99', title: 'p99', number: true, rest: true, by: (one) => one.p99, holds: (one) => one.p99 !== null, cell: (one) => latency(one.p99) },
  { id: 'rejected', title: 'Rejected/s', number: true, rest: true, by: (one) => one.rejected, holds: (one) => one.rejected > 0, cell: (one) => short(one.rejected) },
  { id: 'height', title: 'Height', number: true, rest: true, by: (one) => one.height, holds: (one) => known(one.height), cell: (one) => count(one.height) },
  { id: 'last', title: 'Last block', number: true, rest: true, by: (one) => one.last_block_ms, holds: (one) => known(one.last_block_ms),
    cell: (one) => (one.last_block_ms ? ago(one.last_block_ms, now()) : '–') },
  { id: 'pending', title: 'Pending', number: true, more: true, by: (one) => one.pending, holds: (one) => known(one.pending), cell: (one) => count(one.pending) },
  { id: 'subscribers', title: 'Subscribers', number: true, more: true, by: (one) => one.subscribers, holds: (one) => known(one.subscribers), cell: (one) => count(one.subscribers) },
  { id: 'config', title: 'Config', number: true, more: true, by: (one) => one.config_sequence, holds: (one) => known(one.config_sequence), cell: (one) => count(one.config_sequence) },
  { id: 'since', title: 'In state for', number: true, more: true, by: (one) => one.since_ms, holds: (one) => known(one.since_ms), cell: (one) => ago(one.since_ms, now()) },
  { id: 'lag', title: 'Kafka lag', number: true, more: true, by: (one) => one.kafka_lag, holds: (one) => known(one.kafka_lag), cell: (one) => count(one.kafka_lag) },
];

const known = (value) => value !== null && value !== undefined;
const columnsOf = (channels) => columns.filter((column) => !column.holds || channels.some(column.holds));

const sign = (one) => [one.level, one.state, ago(one.since_ms, now()), one.height, ago(one.last_block_ms, now()), one.config_sequence,
  one.pending, one.subscribers, one.kafka_lag, one.rate, one.rejected, one.p99, one.points].join('|');

/** Sorts names in ascending order where the others are in descending order. */
const reverse = (name) => [...name].map((letter) => String.fromCharCode(0xffff - letter.charCodeAt(0))).join('');
