// Data of the node, kept fresh: each resource is polled while it has listeners, sooner when an event of the node reports
// a change; and it is noticed when the node does not respond.

const LIMIT_MS = 8000;

/** State of the communication with the node. */
export const conversation = {
  /** Time of the last response. */
  answeredAt: 0,
  /** Since when there is no response; 0 while there is. */
  silentSince: 0,
  /** Cause of the silence. */
  trouble: '',
  /** Whether events arrive. */
  live: false,
  /** Milliseconds by which the node's clock is ahead of this one. */
  ahead: 0,
};

/** The time by the node's clock; while it is silent that of its last response, so that shown ages do not grow. */
export const now = () => (conversation.silentSince > 0 ? conversation.answeredAt : Date.now()) + conversation.ahead;

const watchers = new Set();
/** Registers a callback for changes of this state. */
export const onConversation = (watcher) => watchers.add(watcher);
const tell = () => watchers.forEach((watcher) => watcher());

/** A response without success. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Sends one request; returns the response as JSON, or null if it has no content; or as it is. */
export async function ask(path, options = {}, form = 'json') {
  let response;
  let text;
  try {
    response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(LIMIT_MS), ...options });
    text = await response.text();
  } catch (error) {
    if (conversation.silentSince === 0) conversation.silentSince = Date.now();
    conversation.trouble = error.name === 'TimeoutError' ? `no response within ${LIMIT_MS / 1000} s` : 'no connection';
    tell();
    throw error;
  }
  Object.assign(conversation, { answeredAt: Date.now(), silentSince: 0, trouble: '' });
  tell();
  let content = null;
  try {
    content = text === '' ? null : form === 'text' && response.ok ? text : JSON.parse(text);
  } catch {
    throw new Refused(response.status, `the response to ${path} is not JSON`);
  }
  // an unhealthy node responds with a body
  if (!response.ok && !(response.status === 503 && content?.status)) {
    throw new Refused(response.status, content?.error ?? `status ${response.status}`);
  }
  return content;
}

/** A resource that is polled while it has listeners. */
export class Feed {
  static all = new Map();

  /** Returns the one feed of a path. `every` is the interval between two requests, in milliseconds. */
  static of(path, every = 2000) {
    let feed = Feed.all.get(path);
    if (feed === undefined) Feed.all.set(path, (feed = new Feed(path, every)));
    return feed;
  }

  constructor(path, every) {
    Object.assign(this, { path, every, value: undefined, error: null, at: 0, took: 0 });
    this.listeners = new Set();
    this.timer = 0;
    this.due = Infinity;
    this.asking = false;
    this.again = false;
  }

  /** Adds a listener; the returned function removes it. */
  listen(listener) {
    this.listeners.add(listener);
    if (this.value !== undefined || this.error !== null) listener(this);
    if (this.listeners.size === 1) this.refresh();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) {
        clearTimeout(this.timer);
        this.due = Infinity;
        Feed.all.delete(this.path);
      }
    };
  }

  /** Requests the resource now. */
  async refresh() {
    clearTimeout(this.timer);
    this.due = Infinity;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    const began = Date.now();
    try {
      this.value = await ask(this.path);
      this.error = null;
      this.at = Date.now();
      if (this.value?.now_ms) conversation.ahead = this.value.now_ms - this.at;
    } catch (error) {
      this.error = error;
    }
    this.took = Date.now() - began;
    this.asking = false;
    this.listeners.forEach((listener) => listener(this));
    if (this.error?.status !== 404) this.later(this.again ? 0 : this.every);
    this.again = false;
  }

  /** Requests the resource soon, once for all changes that are reported until then. */
  soon() {
    const pause = Math.max(1000, 10 * this.took);
    this.later(Math.max(200, this.at + pause - Date.now()));
  }

  later(pause) {
    // a hidden page requests nothing; it does so again when it is shown
    if (this.listeners.size === 0 || document.hidden || this.asking) return;
    const due = Date.now() + pause;
    if (due >= this.due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => this.refresh(), pause);
  }
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) Feed.all.forEach((feed) => feed.listeners.size > 0 && feed.refresh());
});
