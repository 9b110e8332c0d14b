// Issues that need an operator, and every channel.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, count, moment, plural } from '../format.js';
import { notice, rank, state } from '../health.js';
import { choices, empty, search, sheet } from '../parts.js';
import { table } from '../table.js';
import { restartButton, nextAttempt } from './restart.js';

const kept = { order: ['state', false], text: '', only: 'all' };
/** Maximum number of issues shown in full. */
const TOLD = 5;

export default {
  id: 'channels',
  title: 'Channels',
  feeds: () => [['channels', 5000], ['warnings', 5000]],
  render({ values, redraw }) {
    const channels = values.channels?.channels;
    if (channels === undefined) return null;
    return [notices(channels, values.warnings?.warnings ?? []), all(channels, redraw)];
  },
};

function notices(channels, warnings) {
  const groups = new Map();
  for (const one of channels.filter((channel) => channel.level !== 'good')) {
    // one cause of many channels is shown once
    const key = one.state === 'failed' ? one.name : `${one.state} ${one.cause ?? ''}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const troubles = [...groups.values()].sort(([a], [b]) => rank(b.level) - rank(a.level));
  // the channels that are shown one by one
  const told = new Set(troubles.slice(0, TOLD).flat().map((one) => one.name));
  const others = warnings.filter((one) => !one.about?.length || one.about.length < one.count || !one.about.every((name) => told.has(name)));
  const rest = troubles.slice(TOLD).reduce((sum, group) => sum + group.length, 0);
  // if not all are shown, the totals come first
  const sums = rest > 0 ? others.filter((one) => rank(one.level) >= rank(troubles[0][0].level)) : [];
  return h('div', { class: 'notices' },
    sums.map(warning),
    troubles.slice(0, TOLD).map((group) => (group.length === 1 ? trouble(group[0]) : troubleOfMany(group))),
    rest > 0 && h('p', { class: 'soft' }, `${plural(rest, 'more channel')} below.`),
    others.filter((one) => !sums.includes(one)).map(warning),
    troubles.length + others.length === 0 && h('p', { class: 'quiet' }, 'Nothing needs you.'));
}

function troubleOfMany(group) {
  const [one] = group;
  const names = group.slice(0, 8).flatMap((channel, at) => [at > 0 && ', ', h('a', { href: link(channel.name) }, channel.name)]);
  const more = group.length - 8;
  return notice(one.level, `${plural(group.length, 'channel')} ${headlines[one.state] ?? `are ${one.state}`}`,
    h('p', null, sentence(one.cause ?? one.says)),
    one.state === 'retrying' && h('p', { class: 'todo' }, 'See to the brokers; the channels go on by themselves when they are back.'),
    h('p', { class: 'soft' }, names, more > 0 && ` and ${count(more)} more`));
}

const headlines = {
  retrying: 'have no working Kafka cluster',
  awaitingkey: 'wait for the key to sign with',
  restarting: 'are being started again',
  connecting: 'are reaching their Kafka cluster',
  catchingup: 'are catching up',
  electing: 'have no Raft leader',
  onboarding: 'get their blocks from other orderers',
  running: 'run, but not as they should',
};

/** Returns the issue of a channel that does not accept messages: the cause, and the action. */
export function trouble(channel, button = true) {
  const title = [h('a', { href: link(channel.name) }, channel.name), ' ', headline(channel)];
  return notice(channel.level, title,
    channel.cause ? h('p', null, sentence(channel.cause)) : h('p', null, sentence(channel.says)),
    channel.action ? h('p', { class: 'todo' }, sentence(channel.action)) : nextAttempt(channel),
    button && channel.state === 'failed' && restartButton(channel.name));
}

function headline(channel) {
  const since = channel.since_ms ? ` for ${ago(channel.since_ms, now())}` : '';
  switch (channel.state) {
    case 'failed': return `has failed${since && ` (${moment(channel.since_ms)},${since.slice(4)} ago)`}`;
    case 'retrying': return `has had no working Kafka cluster${since}`;
    case 'awaitingkey': return `has waited for the key to sign with${since}`;
    case 'restarting': return 'is being started again';
    case 'connecting': return `has been reaching its Kafka cluster${since}`;
    case 'catchingup': return 'is catching up';
    case 'electing': return `has had no Raft leader${since}`;
    case 'onboarding': return 'gets its blocks from other orderers';
    case 'running': return 'runs, but not as it should';
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
];

function about(one) {
  const more = one.count - one.about.length;
  return one.about.join(', ') + (more > 0 && one.about.length === 20 ? ` and ${more} more` : '');
}

export const link = (name) => `#/channels/${encodeURIComponent(name)}`;

function all(channels, redraw) {
  const only = (level) => channels.filter((one) => one.level === level).length;
  const tabs = [['all', `All ${count(channels.length)}`], ['bad', `Need you ${only('bad')}`], ['busy', `Not ready ${only('busy')}`]];
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
    ? empty(channels.length === 0 ? 'This node has no channels yet. osnadmin channel join brings one.' : 'No channel is like that.')
    : table({ name: 'Channels', columns, rows: shown, key: (one) => one.name, kept, redraw, kind: 'channels', sign });
  return sheet('Channels', end, h('div', { class: 'scroll' }, list));
}

function matches(channel) {
  const words = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${channel.name} ${channel.state} ${channel.engine} ${channel.cause ?? ''}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

const columns = [
  { id: 'name', title: 'Channel', by: (one) => one.name, wide: true,
    cell: (one) => h('a', { href: link(one.name), 'data-row': '', title: one.name }, one.name) },
  { id: 'state', title: 'State', by: (one) => [rank(one.level), one.state, reverse(one.name)],
    cell: (one) => state(one.level, one.state) },
  { id: 'since', title: 'Since', rest: true, by: (one) => one.since_ms, cell: (one) => ago(one.since_ms, now()) },
  { id: 'height', title: 'Height', number: true, rest: true, by: (one) => one.height, cell: (one) => count(one.height) },
  { id: 'last', title: 'Last block', number: true, by: (one) => one.last_block_ms,
    cell: (one) => (one.last_block_ms ? ago(one.last_block_ms, now()) : '–') },
  { id: 'config', title: 'Config', number: true, rest: true, by: (one) => one.config_sequence, cell: (one) => count(one.config_sequence) },
  { id: 'pending', title: 'Pending', number: true, rest: true, by: (one) => one.pending, cell: (one) => count(one.pending) },
  { id: 'subscribers', title: 'Subscribers', number: true, rest: true, by: (one) => one.subscribers, cell: (one) => count(one.subscribers) },
  { id: 'lag', title: 'Kafka lag', number: true, rest: true, by: (one) => one.kafka_lag, cell: (one) => count(one.kafka_lag) },
];

const sign = (one) => [one.level, one.state, ago(one.since_ms, now()), one.height, ago(one.last_block_ms, now()), one.config_sequence,
  one.pending, one.subscribers, one.kafka_lag].join('|');

/** Sorts names in ascending order where the others are in descending order. */
const reverse = (name) => [...name].map((letter) => String.fromCharCode(0xffff - letter.charCodeAt(0))).join('');
