// Tables that can be sorted by their columns.

import { h } from './dom.js';

/**
 * `columns`: `{ id, title, cell(row), by?(row), number?, rest?, more?, wide? }`; a column without `by` is not sortable,
 * one with `more` is shown on wide screens only, and one with `rest` not on phones. `kept` stores the order:
 * `{ order: [id, up] }`; the column of the order may be one of `others`, which are not shown. `sign` returns all that
 * a row shows as a text: while it is unchanged, the row is not rebuilt.
 */
export function table({ name, columns, others = [], rows, key, kept, redraw, kind, sign }) {
  const [id, up] = kept.order;
  const column = columns.find((one) => one.id === id) ?? others.find((one) => one.id === id);
  const sorted = column?.by ? rows.map((row) => [column.by(row), row]).sort(order(up)).map(([, row]) => row) : rows;
  const sort = (one) => {
    kept.order = [one.id, kept.order[0] === one.id ? !kept.order[1] : !one.number];
    redraw();
  };
  const classes = (one) => [`of-${one.id}`, one.number && 'number', one.rest && 'rest', one.more && 'more', one.wide && 'wide'].filter(Boolean).join(' ');
  const head = (one) => {
    const sorting = one.id === id && (up ? 'ascending' : 'descending');
    const title = one.by ? h('button', { type: 'button', onclick: () => sort(one) }, one.title) : one.title;
    return h('th', { scope: 'col', class: classes(one), 'aria-sort': sorting || null }, title);
  };
  const line = (row) => h('tr', { key: key(row) }, columns.map((one) => h('td', { class: classes(one) }, one.cell(row))));
  const made = sign ? remembered(kept, line, key, (row) => `${sign(row)}|${columns.length}`) : line;
  return h('table', { class: kind, 'aria-label': name },
    h('thead', null, h('tr', null, columns.map(head))), h('tbody', null, sorted.map(made)));
}

/** Rows without a value come last in either order. */
const order = (up) => ([a], [b]) => {
  const [none, other] = [a === null || a === undefined, b === null || b === undefined];
  if (none || other) return none - other;
  const before = Array.isArray(a) ? lists(a, b) : simple(a, b);
  return up ? before : -before;
};
const simple = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const lists = (a, b) => a.reduce((so, one, at) => so || simple(one, b[at]), 0);

function remembered(kept, line, key, sign) {
  const before = kept.lines ?? new Map();
  kept.lines = new Map();
  return (row) => {
    const [name, text] = [key(row), sign(row)];
    const known = before.get(name);
    const one = known?.[0] === text ? known : [text, line(row)];
    kept.lines.set(name, one);
    return one[1];
  };
}
