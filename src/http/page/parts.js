// Building blocks of the views.

import { h } from './dom.js';
import { isoDay, shortName } from './format.js';
import { now } from './data.js';
import { badge } from './health.js';

/** Returns a sheet with a title. */
export function sheet(title, end, ...content) {
  const head = h('div', { class: 'title' }, h('h2', null, title), end && h('div', { class: 'end row' }, end));
  return h('section', { class: 'sheet', 'aria-label': title }, head, content);
}

/** Returns wide content that scrolls in itself, also by keyboard, for content without anything that takes the focus. */
export const scroll = (name, ...content) => h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `${name}, scrollable` }, content);

export const body = (...content) => h('div', { class: 'body' }, content);

/** Returns figures side by side: [name, value, note, level]. */
export function figures(...all) {
  const one = ([name, value, note, level]) =>
    h('div', null, h('dt', null, name), h('dd', { class: level }, value, note && h('span', { class: 'sub' }, note)));
  return h('dl', { class: 'figures' }, all.filter(Boolean).map(one));
}

/** Returns names and values, one below the other. */
export function pairs(...all) {
  const kept = all.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== false && pair[1] !== '');
  return h('dl', { class: 'pairs' }, kept.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));
}

/** Returns the signer: organization and common name. */
export function who(someone) {
  if (!someone) return h('span', { class: 'soft' }, 'unknown');
  return [shortName(commonName(someone.subject)) || 'no certificate', ' ', h('span', { class: 'soft' }, someone.msp_id)];
}

/** Returns a certificate's complete subject, as pairs. */
export function holding(someone) {
  const days = someone.not_after_ms ? Math.floor((someone.not_after_ms - now()) / DAY_MS) : null;
  const expiry = days !== null && [isoDay(someone.not_after_ms), ' ', daysLeft(days)];
  return [
    ['Organization', someone.msp_id],
    ['Subject', someone.subject],
    ['Issuer', someone.issuer],
    ['Units', someone.organizational_units?.join(', ')],
    ['Valid until', expiry || null],
  ];
}

export const holder = (someone) => pairs(...holding(someone));

const DAY_MS = 86_400_000;

/** Returns the days until a certificate expires, coloured at 30, 7 and 0. */
export function daysLeft(days) {
  if (days < 0) return badge('bad', `expired ${-days} d ago`);
  const level = days <= 7 ? 'bad' : days <= 30 ? 'busy' : 'off';
  return badge(level, days > 730 ? `${Math.floor(days / 365)} years` : `${days} d left`);
}

export function commonName(subject) {
  return /(?:^|,\s*|\+\s*)CN=((?:\\.|[^,+])*)/.exec(subject ?? '')?.[1] ?? subject ?? '';
}

/** Returns a bar for a part of a whole. */
export function meter(part, whole, name) {
  const share = whole > 0 ? Math.min(1, part / whole) : 0;
  const bar = h('svg', { viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    h('rect', { width: (100 * share).toFixed(1), height: 8 }));
  return h('span', { class: 'meter', role: 'meter', 'aria-label': name, 'aria-valuenow': part, 'aria-valuemin': 0,
    'aria-valuemax': whole }, bar);
}

/** Returns a path or another composed name, which breaks into lines after its separators. */
export const composed = (text) => text.split(/(?<=[/_.:,@])(?=[^/_.:,@\s])/).flatMap((part, at) => (at === 0 ? [part] : [h('wbr', null), part]));

export const empty = (text) => h('p', { class: 'empty' }, text);

/** Returns a row of choices, one of which is selected. */
export function choices(name, chosen, all, choose) {
  return h('div', { class: 'choices', role: 'group', 'aria-label': name },
    all.map(([value, text]) => h('button', { type: 'button', 'aria-pressed': String(value === chosen),
      onclick: () => choose(value) }, text)));
}

/** Returns the placeholder of a field that the key / focuses, if there may be a keyboard. */
export const withKey = (name) => (matchMedia('(pointer: coarse)').matches ? name : `${name}  /`);

/** Returns a search field, which the key / focuses. */
export function search(name, value, changed) {
  return h('input', { type: 'search', placeholder: withKey(name), 'aria-label': name, value, autocomplete: 'off',
    spellcheck: 'false', 'data-search': '', oninput: (event) => changed(event.target.value) });
}
