// The latest log lines, and the log spec, which can be changed.

import { ask, Feed } from '../data.js';
import { say, sayFailure } from '../dialog.js';
import { h } from '../dom.js';
import { clock, zone } from '../format.js';
import { body, choices, empty, search, sheet } from '../parts.js';

const kept = { level: 'info', contains: '', before: null, asked: null };
const SPEC = '../logspec';
const path = () => `logs?limit=300&level=${kept.level}${kept.contains && `&contains=${encodeURIComponent(kept.contains)}`}`;
let typing = 0;

export default {
  id: 'logs',
  title: 'Logs',
  maxArguments: 1,
  /** The address can name a text to search for. */
  feeds([text]) {
    if (text !== undefined && text !== kept.asked) kept.contains = text;
    kept.asked = text;
    return [[SPEC, 5000], [path(), 2000]];
  },
  render({ values, redraw, again }) {
    const spec = values[SPEC]?.spec;
    if (spec === undefined) return null;
    const lines = values[path()]?.lines;
    return [levels(spec), lines !== undefined && tail(lines, again), lines === undefined && redraw && null];
  },
};

function levels(spec) {
  const submit = (event) => {
    event.preventDefault();
    set(new FormData(event.target).get('spec').trim(), spec);
  };
  const base = spec.split(':').at(-1);
  return sheet('Log levels', null, body(
    h('form', { class: 'row', onsubmit: submit },
      h('input', { type: 'text', name: 'spec', class: 'mono', 'aria-label': 'Log spec', placeholder: spec, autocomplete: 'off', spellcheck: 'false', size: 34 }),
      h('button', { class: 'act' }, 'Apply'),
      choices('Level of all loggers', base, ['debug', 'info', 'warn', 'error'].map((level) => [level, level]), (level) => set(level, spec)),
      kept.before !== null && kept.before !== spec && h('button', { type: 'button', class: 'act', onclick: () => set(kept.before, spec) }, `Restore ${kept.before}`)),
    h('p', { class: 'soft small' }, 'In effect: ', h('code', { id: 'spec' }, spec), '. Example for some loggers: ', h('code', null, 'orderer.kafka=debug:info'), '. A change lasts until the node is restarted.')));
}

async function set(wanted, before) {
  if (wanted === '') return;
  try {
    await ask(SPEC, { method: 'PUT', body: JSON.stringify({ spec: wanted }), headers: { 'content-type': 'application/json' } });
    kept.before ??= before;
    say(`Changed the log levels: ${wanted}`);
  } catch (error) {
    sayFailure(`Failed to change the log levels: ${error.message}`);
  }
  Feed.of(SPEC).refresh();
}

function tail(lines, again) {
  const end = [
    choices('Minimum level', kept.level, ['debug', 'info', 'warn', 'error'].map((level) => [level, level]), (level) => {
      kept.level = level;
      again();
    }),
    search('Search log lines', kept.contains, (text) => {
      kept.contains = text;
      clearTimeout(typing);
      typing = setTimeout(again, 300);
    }),
  ];
  const mark = { error: 'bad', warn: 'busy' };
  const row = (line, at) => h('tr', null,
    h('td', { class: 'nowrap soft' }, clock(line.at_ms)),
    h('td', null, h('span', { class: `state ${mark[line.level] ?? 'off'}` }, line.level)),
    h('td', { class: 'wide' }, h('span', { class: 'break' }, line.message), ' ', h('span', { class: 'soft small break' }, Object.entries(line.fields).map(([name, value]) => `${name}=${value}`).join(' '))),
    h('td', { class: 'more soft small nowrap' }, line.logger));
  return sheet('Latest log lines', end, lines.length === 0 ? empty('No log line matches.')
    : h('div', { class: 'scroll' }, h('table', { class: 'lines stacks', 'aria-label': 'Log lines' },
      h('thead', null, h('tr', null, [`Time (${zone()})`, 'Level', 'Message'].map((title) => h('th', { scope: 'col' }, title)), h('th', { scope: 'col', class: 'more' }, 'Logger'))), h('tbody', null, [...lines].reverse().map(row)))));
}
