// Health as text and colour. Shape shows the same as colour: a round, a square, a diamond.

import { h } from './dom.js';

const RANK = { bad: 2, busy: 1, good: 0 };
const WORDS = {
  awaitingkey: 'no key',
  catchingup: 'catching up',
};

export const rank = (level) => RANK[level] ?? 0;
export const worst = (levels) => levels.reduce((a, b) => (rank(b) > rank(a) ? b : a), 'good');

export const dot = (level) => h('span', { class: `dot ${level}`, 'aria-hidden': 'true' });

/** Returns a state with its mark. */
export function state(level, word) {
  return h('span', { class: `state ${level}` }, dot(level), WORDS[word] ?? word);
}

export const badge = (level, text) => h('span', { class: `badge ${level}` }, text);

/** Returns an issue that needs an operator: a sentence, its cause, and the action. */
export function notice(level, title, ...lines) {
  return h('section', { class: `notice ${level}` }, h('h2', null, title), lines);
}
