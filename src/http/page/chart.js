// A small chart of one figure over the last minutes.

import { h } from './dom.js';
import { span } from './format.js';

const WIDTH = 600;
const HEIGHT = 120;
/** Position of the pointer, by the chart's name. */
const pointed = new Map();

/**
 * `points`: [time, value or null] from old to new. `format` formats a value; `redraw` is called when the pointer moves.
 */
export function chart({ name, points, format, redraw, from, to, note }) {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  const top = niceTop(Math.max(0, ...values));
  const x = (at) => ((at - from) / (to - from)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const runs = unbroken(points);
  const longer = runs.filter((run) => run.length > 1);
  const line = (run) => run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' L');
  const curve = longer.map((run) => `M${line(run)}`).join(' ');
  // a line without length and with round ends is a dot, however the chart is stretched
  const dots = runs.filter((run) => run.length === 1).map((run) => `M${line(run)} h0`).join(' ');
  const area = longer.map((run) => `M${x(run[0][0]).toFixed(1)},${HEIGHT} L${line(run)} L${x(run.at(-1)[0]).toFixed(1)},${HEIGHT} Z`);
  const at = pointed.get(name);
  const near = at !== undefined && points.length > 0 ? nearest(points, from + at * (to - from)) : null;
  const newest = values.at(-1);
  const read = near
    ? `${near[1] === null ? 'nothing' : format(near[1])}, ${span(to - near[0])} ago`
    : newest === undefined ? 'nothing yet' : `now ${format(newest)}, most ${format(Math.max(...values))}`;
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
        h('path', { class: 'area', d: area.join(' ') }),
        h('path', { class: 'curve', d: curve }),
        h('path', { class: 'dots', d: dots }),
        near && h('line', { class: 'at', x1: x(near[0]), x2: x(near[0]), y1: 0, y2: HEIGHT })),
      values.length > 0 && [h('span', { class: 'scale top' }, format(top)), h('span', { class: 'scale middle' }, format(top / 2))]),
    h('div', { class: 'ends' }, h('span', null, `${span(to - from)} ago`), note && h('span', null, note), h('span', null, 'now')));
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
    if (point[1] !== null) run.push(point);
    else if (run.length > 0) [runs, run] = [[...runs, run], []];
  }
  return run.length > 0 ? [...runs, run] : runs;
}

const nearest = (points, at) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));

/**
 * Returns the rates per second in each `width` of a time, from [time, count]. Counts before `known` are incomplete, so a
 * part that begins by then has no rate.
 */
export function rates(happened, from, to, width, known) {
  const sums = new Array(Math.round((to - from) / width)).fill(0);
  for (const [at, n] of happened) {
    const part = Math.floor((at - from) / width);
    if (part >= 0 && part < sums.length) sums[part] += n;
  }
  return sums.map((sum, part) => {
    const begin = from + part * width;
    return [begin + width, begin <= known ? null : (sum * 1000) / width];
  });
}
