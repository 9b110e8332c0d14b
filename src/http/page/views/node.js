// The node's figures: the state of the last seconds, with the last 15 minutes as small charts.

import { spark } from '../chart.js';
import { h } from '../dom.js';
import { bytes, count, latency, short, span } from '../format.js';

/** Number of steps in the history. */
const STEPS = 180;

/** Returns the strip of the node's figures. */
export function nodeFigures(history) {
  if (history === undefined) return null;
  const last = (values) => values?.at(-1) ?? null;
  const cores = last(history.cores);
  const disk = history.disk;
  const all = [
    figure('Envelopes', last(history.envelopes_per_second), (n) => [short(n), unit('/s')], history.envelopes_per_second),
    figure('Latency p99', last(history.p99_ms), latency, history.p99_ms),
    figure('Rejections', last(history.rejected_per_second), (n) => [short(n), unit('/s')], history.rejected_per_second, { href: '#/refusals', level: last(history.rejected_per_second) > 0 ? 'busy' : null }),
    figure('CPU', cores, (n) => [short(n), unit(` of ${count(history.available_cores)} cores`)], history.cores),
    figure('Memory', last(history.rss_bytes), bytes, history.rss_bytes),
    figure('Streams', last(history.streams), count, history.streams, { href: '#/streams' }),
    disk && figure('Disk free', disk.free_bytes, bytes, history.disk_free_bytes, { level: disk.level === 'good' ? null : disk.level, note: lasts(disk, history.ends_ms.length) }),
  ];
  return h('section', { class: 'sheet', 'aria-label': 'Node' }, h('dl', { class: 'strip' }, all.filter(Boolean)));
}

const unit = (text) => h('span', { class: 'unit' }, text);

function figure(name, value, write, values, { href, level, note } = {}) {
  return h('div', null,
    h('dt', null, href ? h('a', { href }, name) : name),
    h('dd', { class: level ?? null }, h('span', null, value === null ? '–' : write(value)),
      h('span', { class: 'sub' }, note ?? null),
      spark(values, STEPS)));
}

/** Number of steps before which a trend is unknown: a minute. */
const MIN_STEPS = 13;

/** Describes how long the free space lasts at the rate of the last minutes. */
function lasts({ lasts_ms: left, size_bytes: size, free_bytes: free }, steps) {
  const share = size > 0 ? `${Math.round((100 * free) / size)} %` : '';
  if (left === null && steps < MIN_STEPS) return share;
  return left === null ? `${share}, not shrinking` : `${share}, full in ${left > 10 * 365 * 86_400_000 ? 'years' : span(left)} at this rate`;
}
