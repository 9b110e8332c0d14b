// What happens, as the node tells it. Where its events do not come through, the feeds ask often enough.

import { conversation, Feed, now } from './data.js';

/** Blocks of the last minutes by channel, as [time, envelopes]. */
export const cut = new Map();
const REMEMBERED_MS = 10 * 60_000;
const listeners = new Set();

/** Calls back with each event. */
export const onEvent = (listener) => listeners.add(listener);

/** So many blocks a channel are remembered; a faster chain is seen over a shorter time. */
const BLOCKS_MAX = 5000;

/** Remembers a block for the charts, once. */
export function remember(channel, number, at, envelopes) {
  let blocks = cut.get(channel);
  if (blocks === undefined) cut.set(channel, (blocks = new Map()));
  if (blocks.has(number)) return;
  blocks.set(number, [at, envelopes]);
  for (const [old, [then]] of blocks) {
    if (blocks.size <= BLOCKS_MAX && then > now() - REMEMBERED_MS) break;
    blocks.delete(old);
  }
}

/** Whose value changes with an event. */
const touched = {
  state: (event) => ['channels', `channels/${event.channel}`, 'warnings', 'actors'],
  actor: () => ['actors', 'warnings'],
  block: (event) => ['channels', `channels/${event.channel}`],
  refusals: () => ['refusals'],
  stuck: () => ['actors', 'warnings'],
  missed: () => ['channels', 'actors', 'warnings'],
};

function heard(event) {
  if (event.kind === 'block') applyBlock(event);
  for (const path of touched[event.kind]?.(event) ?? []) Feed.all.get(path)?.soon();
  listeners.forEach((listener) => listener(event));
}

/** A block changes one row of the table, which need not be asked for again. */
function applyBlock(event) {
  const row = Feed.all.get('channels')?.value?.channels.find((channel) => channel.name === event.channel);
  if (row !== undefined && row.height < event.height) {
    Object.assign(row, { height: event.height, last_block_ms: event.at_ms });
  }
}

/** Begins to listen, and goes on whatever happens. */
export function listen() {
  const source = new EventSource('events');
  source.onopen = () => live(true);
  source.onerror = () => {
    live(false);
    // a connection that broke is made again by the browser; one that was refused is not
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 15_000);
  };
  for (const kind of Object.keys(touched)) source.addEventListener(kind, (message) => heard(JSON.parse(message.data)));
}

function live(is) {
  if (is === conversation.live) return;
  conversation.live = is;
  // what happened meanwhile was not heard
  Feed.all.forEach((feed) => feed.soon());
}
