// Charts of one figure over the last minutes: a large one with scale and readout, and a small one for a table's row.

import { h } from './dom.js';
import { span } from './format.js';

const WIDTH = 600;
const HEIGHT = 120;
/** Position of the pointer, by the chart's name. */
const pointed = new Map();

/**
 * `points`: [time, value or null] from old to new; time without points stays empty. `second`: `{ name, points }`, drawn
 * as a thin line. `format` formats a value; `redraw` is called when the pointer moves.
 */
export function chart({ name, points, second, format, redraw, from, to }) {
  const inside = points.filter(([at]) => at > from);
  const values = inside.map(([, value]) => value).filter((value) => value !== null);
  const top = niceTop(Math.max(0, ...values));
  const scale = { x: (at) => ((at - from) / (to - from)) * WIDTH, y: (value) => HEIGHT - (Math.min(value, top) / top) * HEIGHT };
  const paths = pathsOf(inside, scale);
  const at = pointed.get(name);
  const near = at !== undefined && inside.length > 0 ? nearest(inside, from + at * (to - from)) : null;
  const newest = inside.at(-1)?.[1];
  const more = (time) => {
    const value = second?.points.find(([then]) => then === time)?.[1];
    return value === undefined || value === null ? '' : `, ${second.name} ${format(value)}`;
  };
  const read = near
    ? `${near[1] === null ? 'no data' : format(near[1]) + more(near[0])}, ${span(to - near[0])} ago`
    : values.length === 0 ? 'no data yet'
      : `now ${newest === null ? '–' : format(newest) + more(inside.at(-1)[0])}, max ${format(Math.max(...values))}`;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    pointed.set(name, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    redraw();
  };
  const leave = () => {
    pointed.delete(name);
    redraw();
  };
  return h('figure', { class: 'chart' },
    h('figcaption', null, h('strong', null, name), h('span', { class: 'soft' }, read)),
    h('div', { class: 'plot', onpointermove: point, onpointerleave: leave },
      h('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${name}: ${read}` },
        [0, 0.5, 1].map((share) => h('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share })),
        h('path', { class: 'area', d: paths.area }),
        h('path', { class: 'curve', d: paths.curve }),
        h('path', { class: 'dots', d: paths.dots }),
        h('path', { class: 'second', d: second ? pathsOf(second.points.filter(([then]) => then > from), scale).curve : '' }),
        near && h('line', { class: 'at', x1: scale.x(near[0]), x2: scale.x(near[0]), y1: 0, y2: HEIGHT })),
      values.length > 0 && [h('span', { class: 'scale top' }, format(top)), h('span', { class: 'scale middle' }, format(top / 2))]),
    h('div', { class: 'ends' }, h('span', null, `${span(to - from)} ago`), h('span', null, 'now')));
}

/** Returns a small chart of `values`, the oldest first, in the right part of `slots` places. */
export function spark(values, slots, name) {
  const top = Math.max(0, ...values);
  const first = slots - values.length;
  const x = (at) => ((first + at) / (slots - 1)) * 100;
  const y = (value) => (top > 0 ? 19 - (value / top) * 18 : 19);
  const line = (run) => run.map(([left, value]) => `${left.toFixed(1)},${y(value).toFixed(1)}`).join(' L');
  const runs = unbroken(values.map((value, at) => [x(at), value])).filter((run) => run.length > 1);
  const area = (run) => `M${run[0][0].toFixed(1)},20 L${line(run)} L${run.at(-1)[0].toFixed(1)},20 Z`;
  return h('svg', { class: 'spark', viewBox: '0 0 100 20', preserveAspectRatio: 'none', ...(name ? { role: 'img', 'aria-label': name } : { 'aria-hidden': 'true' }) },
    h('path', { class: 'area', d: runs.map(area).join(' ') }),
    h('path', { class: 'curve', d: runs.map((run) => `M${line(run)}`).join(' ') }));
}

function pathsOf(points, { x, y }) {
  const runs = unbroken(points);
  const longer = runs.filter((run) => run.length > 1);
  const line = (run) => run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' L');
  return {
    curve: longer.map((run) => `M${line(run)}`).join(' '),
    // a line without length and with round ends is a dot, however the chart is stretched
    dots: runs.filter((run) => run.length === 1).map((run) => `M${line(run)} h0`).join(' '),
    area: longer.map((run) => `M${x(run[0][0]).toFixed(1)},${HEIGHT} L${line(run)} L${x(run.at(-1)[0]).toFixed(1)},${HEIGHT} Z`).join(' '),
  };
}

/** Returns the next larger of 1, 2, 5, 10, 20, .. */
function niceTop(most) {
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= most);
}

function unbroken(points) {
  const runs = [];
  let run = [];
  for (const point of points) {
    if (point[1] !== null) {
      run.push(point);
    } else if (run.length > 0) {
      runs.push(run);
      run = [];
    }
  }
  return run.length > 0 ? [...runs, run] : runs;
}

const nearest = (points, at) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
