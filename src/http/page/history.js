// The node's history of the last 15 minutes, as charts.

import { chart } from './chart.js';
import { h } from './dom.js';
import { latency, perSecond } from './format.js';
import { body } from './parts.js';

const SHOWN_MS = 15 * 60_000;
/** Number of points in a channel's summary. */
export const POINTS = 30;

/** Returns the charts of a history: rate, latency and rejections. */
export function historyCharts(history, redraw) {
  if (history === undefined) return null;
  if (history.retained === false) {
    return h('p', { class: 'soft' }, 'The history of this channel is not retained: too many channels have traffic.');
  }
  const to = history.ends_ms.at(-1) ?? history.now_ms;
  const from = to - SHOWN_MS;
  const points = (values) => history.ends_ms.map((at, step) => [at, values[step]]);
  const one = (name, values, format, second) =>
    h('section', { class: 'sheet' }, body(chart({ name, points: points(values), second, format, redraw, from, to })));
  return h('div', { class: 'charts' },
    one('Envelopes per second', history.envelopes_per_second, perSecond),
    one('Latency p99', history.p99_ms, latency, { name: 'p50', points: points(history.p50_ms) }),
    one('Rejections per second', history.rejected_per_second, perSecond));
}
