// The page: its head, its views, and the content of the view in the address.

import { ask, conversation, Feed, now, onConversation } from './data.js';
import { draw, h } from './dom.js';
import { listen, onEvent } from './events.js';
import { ago, moment, plural, span } from './format.js';
import { dot, rank, worst } from './health.js';
import { shortcuts } from './shortcuts.js';
import actors from './views/actors.js';
import block from './views/block.js';
import certificates from './views/certificates.js';
import channel from './views/channel.js';
import channelConfig from './views/channel_config.js';
import channels, { link, sentence } from './views/channels.js';
import limits from './views/limits.js';
import logs from './views/logs.js';
import orderers from './views/orderers.js';
import refusals from './views/refusals.js';
import settings from './views/settings.js';
import streams from './views/streams.js';
import transaction from './views/transaction.js';
import unknown from './views/unknown.js';

const VIEWS = [channels, actors, streams, limits, refusals, transaction, certificates, logs, settings, orderers];
/** Minimum interval between two drawings; drawing takes no more than a tenth of the time. */
const PAUSE_MS = 200;
const PAUSES = 9;

const at = (id) => document.getElementById(id);
const absent = new Set();
let version = null;
let startedAt = 0;
let shown = { view: null, args: [], feeds: new Map(), ends: [] };

/** Returns the view that the address names, and its arguments. */
function route() {
  const address = location.hash.replace(/^#\/?/, '');
  let parts;
  try {
    parts = address.split('/').map(decodeURIComponent);
  } catch {
    return [unknown, [address]];
  }
  const [id, ...args] = parts;
  if (id === '') return [channels, []];
  if (id === 'channels' && args.length === 3 && args[1] === 'blocks') return [block, [args[0], args[2]]];
  if (id === 'channels' && args.length === 2 && args[1] === 'config') return [channelConfig, [args[0]]];
  if (id === 'channels' && args.length === 1 && args[0] !== '') return [channel, [args[0]]];
  const view = VIEWS.find((one) => one.id === id);
  const accepted = view === undefined ? -1 : (view.maxArguments ?? 0);
  return args.length <= accepted ? [view, args] : [unknown, [address]];
}

/** Shows the view in the address, and subscribes to its feeds. */
function go() {
  const [view, args] = route();
  const moved = view !== shown.view || args.join() !== shown.args.join();
  const before = shown.ends;
  const feeds = new Map(view.feeds(args).map(([path, every]) => [path, Feed.of(path, every)]));
  shown = { view, args, feeds, ends: [] };
  // subscribing to the new feeds first keeps those that both views need
  shown.ends = [...feeds.values()].map((feed) => feed.listen(() => soon()));
  before.forEach((end) => end());
  document.title = `${titleOf(view, args)} – orderer`;
  if (moved) scrollTo(0, 0);
  drawAll();
}

const titleOf = (view, args) => (typeof view.title === 'string' ? view.title : view.title(args));

let drawnAt = 0;
let drawTook = 0;
let timer = 0;
function soon() {
  if (timer !== 0) return;
  timer = setTimeout(drawAll, Math.max(0, drawnAt + Math.max(PAUSE_MS, PAUSES * drawTook) - Date.now()));
}

function drawAll() {
  const began = Date.now();
  clearTimeout(timer);
  timer = 0;
  drawHead();
  drawViews();
  drawSilence();
  drawMain();
  drawnAt = Date.now();
  drawTook = drawnAt - began;
}

/** Returns the node's health, from data that is loaded anyway. */
function health() {
  const all = overview.value?.channels;
  if (conversation.silentSince > 0) return ['bad', 'not responding'];
  if (all === undefined) return ['off', 'loading …'];
  const count = (level) => all.filter((one) => one.level === level).length;
  const level = worst(all.map((one) => one.level));
  // a warning that is more severe than every channel is about something else
  const warned = (warnings.value?.warnings ?? []).map((one) => one.level);
  const gravest = worst(warned);
  if (rank(gravest) > rank(level)) return [gravest, plural(warned.filter((one) => one === gravest).length, 'warning')];
  if (level === 'bad') return [level, `${count('bad')} of ${plural(all.length, 'channel')} ${count('bad') === 1 ? 'needs' : 'need'} attention`];
  if (level === 'busy') return [level, `${count('busy')} of ${plural(all.length, 'channel')} not ready`];
  return [level, all.length === 0 ? 'no channels yet' : all.length === 1 ? '1 channel is running' : `all ${plural(all.length, 'channel')} are running`];
}

function drawHead() {
  const [level, text] = health();
  draw(at('head'),
    h('a', { class: 'brand', href: '#/channels' }, h('img', { src: 'page/icon.svg', alt: '' }), 'orderer'),
    h('span', { class: `state ${level}`, id: 'health' }, dot(level), text),
    h('span', { class: 'facts' },
      h('span', null, location.host),
      version && h('span', { title: version.CommitSHA }, `version ${version.Version}`),
      startedAt > 0 && h('span', { title: moment(startedAt) }, `up ${ago(startedAt, now())}`),
      h('span', { id: 'live' }, conversation.silentSince > 0 ? 'no connection' : conversation.live ? 'live' : 'polling'),
      h('a', { class: 'keys', href: '#', onclick: help }, 'Keys ', h('kbd', null, '?'))));
}

function help(event) {
  event.preventDefault();
  event.currentTarget.dispatchEvent(new KeyboardEvent('keydown', { key: '?', bubbles: true }));
}

/** Views without data, or that nothing on this node concerns, are left out. */
const visible = () => VIEWS.filter((view) => !absent.has(view.id) && (view.appears?.(overview.value?.channels ?? []) ?? true));

let inSight = null;
function drawViews() {
  const current = shown.view.part ?? shown.view.id;
  draw(at('views'), visible().map((view) =>
    h('a', { href: `#/${view.id}`, 'aria-current': view.id === current ? 'page' : null }, view.title)));
  // once, so that a user who scrolls the row is not scrolled back
  if (current === inSight) return;
  inSight = current;
  const [row, tab] = [at('views'), at('views').querySelector('[aria-current]')];
  if (tab) row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
}

function drawSilence() {
  const { silentSince, answeredAt, trouble } = conversation;
  document.body.classList.toggle('stale', silentSince > 0);
  const loaded = [...shown.feeds.values()].some((feed) => feed.value !== undefined);
  const old = answeredAt > 0 && loaded ? ` The data below is ${span(Date.now() - answeredAt)} old.` : '';
  draw(at('silence'), silentSince > 0
    && h('p', null, `The node has not responded since ${moment(silentSince)} (${trouble}).${old} The page retries every few seconds.`));
}

function drawMain() {
  const { view, args, feeds } = shown;
  const values = Object.fromEntries([...feeds].map(([path, feed]) => [path, feed.value]));
  const errors = Object.fromEntries([...feeds].filter(([, feed]) => feed.error).map(([path, feed]) => [path, feed.error]));
  const content = view.render({ args, values, errors, redraw: soon, again: go });
  const first = [...feeds.values()].find((feed) => feed.value === undefined && feed.error?.status);
  if (first?.error.status === 404 && VIEWS.includes(view) && !view.speaks) absent.add(view.id);
  // another view begins on an empty page
  draw(at('content'), h('div', { key: `${view.id}/${args.join('/')}`, class: 'view' },
    (!view.hasHeading || content === null) && h('h1', { class: view.hasHeading ? null : 'unseen' }, titleOf(view, args)), content ?? waiting(first, view, args)));
}

function waiting(feed, view, [name]) {
  if (feed) {
    return [h('p', { class: 'break' }, sentence(feed.error.message)),
      view.part === 'channels' && h('p', null, h('a', { href: view.id === 'channel' ? '#/channels' : link(name) }, view.id === 'channel' ? 'Show the channels' : 'Show the channel'))];
  }
  return h('p', { class: 'soft' }, conversation.silentSince > 0 ? 'This view is shown when the node responds.' : 'Loading …');
}

/** Loads what is loaded once, and again when the node may be another. */
async function introduce() {
  try {
    version = await ask('../version');
    const { actors: all } = await ask('actors');
    startedAt = Math.min(...all.map((one) => one.started_ms));
    soon();
  } catch {
    // the page's head shows that the node does not respond
    setTimeout(introduce, 5000);
  }
}

const overview = Feed.of('channels', 5000);
const warnings = Feed.of('warnings', 5000);
[overview, warnings].forEach((feed) => feed.listen(() => soon()));
onEvent(() => soon());
let silent = false;
onConversation(() => {
  if (silent && conversation.silentSince === 0) introduce();
  silent = conversation.silentSince > 0;
  soon();
});
addEventListener('hashchange', go);
addEventListener('resize', () => {
  inSight = null;
  soon();
});
shortcuts(() => visible().map((view) => view.id));
setInterval(() => !document.hidden && soon(), 1000);
introduce();
listen();
go();
