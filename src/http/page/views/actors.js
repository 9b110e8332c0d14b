// The actor tree. Unhealthy actors are open and on top.

import { now } from '../data.js';
import { h } from '../dom.js';
import { ago, count, moment, plural, shortName, span } from '../format.js';
import { badge, dot, rank, state } from '../health.js';
import { body, empty, search, sheet } from '../parts.js';

const kept = { text: '', opened: new Map(), whole: new Set() };
/** Maximum number of siblings shown before all are requested. */
const NEIGHBOURS = 100;

export default {
  id: 'actors',
  title: 'Actors',
  feeds: () => [['actors', 3000]],
  render({ values, redraw }) {
    const actors = values.actors;
    if (actors === undefined) return null;
    const text = kept.text.toLowerCase();
    const roots = tree(actors.actors.filter((one) => `${one.path} ${one.state}`.toLowerCase().includes(text)));
    const find = search('Search actors', kept.text, (value) => {
      kept.text = value;
      redraw();
    });
    return [
      arbiters(actors),
      sheet(plural(actors.actors.length, 'actor'), find, roots.length === 0 ? empty('No actor matches.')
        : body(h('div', { class: 'tree' }, roots.map((node) => show(node, 0, redraw))))),
      h('p', { class: 'soft small' }, policy(actors.restart_policy)),
    ];
  },
};

function policy(rules) {
  return `An actor that fails is restarted after ${span(rules.first_pause_ms)}, and after up to ${span(rules.longest_pause_ms)} if it fails again. `
    + `After ${rules.limit} restarts within ${span(rules.window_ms)} its channel stays failed until an operator restarts it.`;
}

const nameOf = (path) => path.slice(path.lastIndexOf('/') + 1);

/** Returns nodes by path; a node that is missing from the list (because of a filter) is added. */
function tree(actors) {
  const nodes = new Map();
  const roots = [];
  const node = (path) => {
    let there = nodes.get(path);
    if (there !== undefined) return there;
    nodes.set(path, (there = { path, name: nameOf(path), actor: null, below: [] }));
    const above = path.lastIndexOf('/');
    if (above > 0) node(path.slice(0, above)).below.push(there);
    else roots.push(there);
    return there;
  };
  for (const actor of actors) node(actor.path).actor = actor;
  const weigh = (one) => {
    one.below.forEach(weigh);
    one.gravest = [one.actor, ...one.below.map((below) => below.gravest)].reduce((a, b) => (rank(b?.level) > rank(a?.level) ? b : a));
    one.level = one.gravest?.level ?? 'good';
    one.size = one.below.reduce((sum, below) => sum + 1 + below.size, 0);
    one.below.sort((a, b) => rank(b.level) - rank(a.level) || (a.name < b.name ? -1 : 1));
  };
  roots.forEach(weigh);
  return roots;
}

function show(node, depth, redraw) {
  if (node.below.length === 0) return h('div', { key: node.path }, line(node));
  const open = kept.opened.get(node.path) ?? (depth < 1 || node.level !== 'good' || kept.text !== '');
  const toggled = (event) => {
    if (event.currentTarget.open === open) return;
    kept.opened.set(node.path, event.currentTarget.open);
    redraw();
  };
  const all = kept.whole.has(node.path) || node.below.length <= NEIGHBOURS + 10;
  const shown = all ? node.below : node.below.slice(0, NEIGHBOURS);
  const rest = () => {
    kept.whole.add(node.path);
    redraw();
  };
  return h('details', { key: node.path, open, ontoggle: toggled }, h('summary', null, line(node, !open)), open && h('div', { class: 'leaves' },
    h('div', null, shown.map((below) => show(below, depth + 1, redraw))),
    !all && h('button', { type: 'button', class: 'act', onclick: rest }, `Show all ${count(node.below.length)}`)));
}

function line(node, closed) {
  const actor = node.actor;
  if (actor === null) return h('span', { class: 'node' }, dot('off'), h('span', { class: 'name' }, node.name));
  const hand = actor.in_hand;
  return h('span', { class: 'node' },
    h('span', { class: 'name', title: node.name }, shortName(node.name)),
    state(actor.level, actor.state),
    closed && rank(node.level) > rank(actor.level) && badge(node.level, `${nameOf(node.gravest.path)}: ${node.gravest.state}`),
    closed && h('span', { class: 'sub' }, plural(node.size, 'actor below', 'actors below')),
    hand?.stuck && badge('bad', `stuck in ${hand.message} for ${ago(hand.since_ms, now())}`),
    actor.detail && h('span', { class: 'sub' }, actor.detail),
    h('span', { class: 'sub' }, [
      `up ${ago(actor.started_ms, now())}`,
      plural(actor.handled, 'message'),
      `${count(actor.mailbox.depth)} queued (max ${count(actor.mailbox.high_water)})`,
      actor.restarts > 0 && plural(actor.restarts, 'restart'),
    ].filter(Boolean).join(', ')),
    // a failed actor has its error as its detail already
    actor.last_error && actor.last_error.text !== actor.detail && h('span', { class: 'sub' }, `last error ${moment(actor.last_error.at_ms)}: ${actor.last_error.text}`),
    actor.last_panic && h('span', { class: 'sub' }, `last panic ${moment(actor.last_panic.at_ms)}: ${actor.last_panic.text} `, h('code', null, actor.last_panic.place)));
}

function arbiters({ arbiters: all }) {
  const stuck = all.filter((one) => one.stuck);
  return stuck.map((one) => h('section', { class: 'notice bad' },
    h('h2', null, `Thread ${one.index} has not responded for ${span(one.silent_ms)}`),
    h('p', null, 'Every actor on this thread waits. If this lasts, restart the node. Acknowledged envelopes are not lost.')));
}
