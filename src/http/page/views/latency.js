// Latency of responses to clients: the mean between two samples of the node's metrics.

import { chart } from '../chart.js';
import { ask, now } from '../data.js';
import { h } from '../dom.js';
import { latency } from '../format.js';
import { body } from '../parts.js';

const STEP_MS = 5000;
const SHOWN_MS = 5 * 60_000;
/** Points by channel, and the sums of the last sample. */
const seen = new Map();
let asking = false;
let askedAt = 0;

/** Returns the chart, and takes the next sample if it is due. */
export function latencyChart(name, config, redraw) {
  if (config === undefined) return null;
  const provider = config.keys.find((one) => one.key === 'Metrics.Provider');
  if (provider?.value !== 'prometheus') return without();
  if (!asking && Date.now() - askedAt > STEP_MS) look(name, redraw);
  const to = now();
  const points = seen.get(name)?.points ?? [];
  return h('section', { class: 'sheet' }, body(chart({ name: 'Time to answer an envelope', points, format: latency, redraw, from: to - SHOWN_MS, to, note: 'mean' })));
}

const without = () => h('section', { class: 'sheet' }, body(h('p', { class: 'soft' },
  'With ', h('code', null, 'Metrics.Provider: prometheus'), ' the time to answer an envelope is drawn here.')));

async function look(name, redraw) {
  asking = true;
  const began = Date.now();
  try {
    const text = await ask('../metrics', {}, 'text');
    const sums = Object.fromEntries(['validate', 'enqueue'].map((stage) => [stage, sumsOf(text, `broadcast_${stage}_duration`, name)]));
    keep(name, sums);
    redraw();
  } catch {
    // the page's head shows that the node does not respond
  }
  asking = false;
  // however many channels the metrics have, this takes a tenth of the time
  askedAt = Date.now() + 9 * (Date.now() - began);
}

/** Returns seconds and count of a channel's histogram, summed over all its other labels. */
function sumsOf(text, metric, channel) {
  const sum = (kind) => {
    let all = 0;
    for (const [, labels, value] of text.matchAll(new RegExp(`^${metric}_${kind}\\{([^}]*)\\} (\\S+)`, 'gm'))) {
      if (labels.includes(`channel="${channel}"`)) all += Number(value);
    }
    return all;
  };
  return [sum('sum'), sum('count')];
}

function keep(name, sums) {
  const known = seen.get(name) ?? { points: [], sums: null };
  const mean = (stage) => {
    const [seconds, count] = [0, 1].map((at) => sums[stage][at] - known.sums[stage][at]);
    return count > 0 ? (1000 * seconds) / count : null;
  };
  if (known.sums !== null) {
    const enqueue = mean('enqueue');
    known.points.push([now(), enqueue === null ? null : enqueue + (mean('validate') ?? 0)]);
    known.points = known.points.filter(([at]) => at > now() - SHOWN_MS);
  }
  known.sums = sums;
  seen.set(name, known);
}

/** The feed that tells whether there are metrics to draw. */
export const latencyFeed = ['config', 60_000];
