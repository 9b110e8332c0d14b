// Events of the node. Where they do not arrive, the feeds poll often enough.

import { conversation, Feed } from './data.js';

const listeners = new Set();

/** Registers a callback for each event. */
export const onEvent = (listener) => listeners.add(listener);

/** Feeds whose value changes with an event, by its kind. */
const touched = {
  state: (event) => ['channels', `channels/${event.channel}`, 'warnings', 'actors'],
  actor: () => ['actors', 'warnings'],
  block: (event) => ['channels', `channels/${event.channel}`],
  refusals: () => ['refusals'],
  stuck: () => ['actors', 'warnings'],
  missed: () => ['channels', 'actors', 'warnings'],
};

function received(event) {
  if (event.kind === 'block') applyBlock(event);
  for (const path of touched[event.kind]?.(event) ?? []) Feed.all.get(path)?.soon();
  listeners.forEach((listener) => listener(event));
}

/** Applies a block to its row of the table, which need not be requested again. */
function applyBlock(event) {
  const row = Feed.all.get('channels')?.value?.channels.find((channel) => channel.name === event.channel);
  if (row !== undefined && row.height < event.height) {
    Object.assign(row, { height: event.height, last_block_ms: event.at_ms });
  }
}

/** The connection that events arrive on, while the page is visible. */
let source = null;
let retry = 0;

/**
 * Starts to listen, and continues after errors. A page that is hidden, or that the browser keeps to go back to, does not listen: a
 * browser opens six connections to a node, and each of them that only waits for events is one that other pages do not have.
 */
export function listen() {
  document.addEventListener('visibilitychange', follow);
  follow();
}

function follow() {
  clearTimeout(retry);
  source?.close();
  source = null;
  if (document.hidden) return live(false);
  source = new EventSource('events');
  source.onopen = () => live(true);
  source.onerror = () => {
    live(false);
    // the browser reopens a broken connection, but not a rejected one
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(follow, 15_000);
  };
  for (const kind of Object.keys(touched)) source.addEventListener(kind, (message) => received(JSON.parse(message.data)));
}

function live(is) {
  if (is === conversation.live) return;
  conversation.live = is;
  // events in between were missed
  Feed.all.forEach((feed) => feed.soon());
}
