// What the node says, kept fresh: each resource is asked for while somebody looks at it, sooner when an event of the node
// says that something changed, and a node that does not answer is noticed.

const LIMIT_MS = 8000;

/** What is known of the conversation with the node. */
export const conversation = {
  /** When the last answer came. */
  answeredAt: 0,
  /** Since when there is none; 0 while there is. */
  silentSince: 0,
  /** Why not. */
  trouble: '',
  /** Whether events arrive by themselves. */
  live: false,
  /** So far the node's clock is ahead of this one, in milliseconds. */
  ahead: 0,
};

/** The time by the node's clock; while it is silent that of its last answer, so that nothing goes on that nobody saw. */
export const now = () => (conversation.silentSince > 0 ? conversation.answeredAt : Date.now()) + conversation.ahead;

const watchers = new Set();
/** Calls back whenever something of the conversation changed. */
export const onConversation = (watcher) => watchers.add(watcher);
const tell = () => watchers.forEach((watcher) => watcher());

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** One request; the answer as JSON, or null if it has no content; or as it is. */
export async function ask(path, options = {}, form = 'json') {
  let response;
  let text;
  try {
    response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(LIMIT_MS), ...options });
    text = await response.text();
  } catch (error) {
    if (conversation.silentSince === 0) conversation.silentSince = Date.now();
    conversation.trouble = error.name === 'TimeoutError' ? `no answer within ${LIMIT_MS / 1000} s` : 'no connection';
    tell();
    throw error;
  }
  Object.assign(conversation, { answeredAt: Date.now(), silentSince: 0, trouble: '' });
  tell();
  let content = null;
  try {
    content = text === '' ? null : form === 'text' && response.ok ? text : JSON.parse(text);
  } catch {
    throw new Refused(response.status, `the answer to ${path} is no JSON`);
  }
  // a node that is not healthy says so with a body
  if (!response.ok && !(response.status === 503 && content?.status)) {
    throw new Refused(response.status, content?.error ?? `status ${response.status}`);
  }
  return content;
}

/** A resource that is asked for again and again while it has listeners. */
export class Feed {
  static all = new Map();

  /** The feed of a path; there is one. `every` is the pause between two requests, in milliseconds. */
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

  /** Listens; what comes back ends it. */
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

  /** Asks now. */
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

  /** Asks soon, together with whatever else is said to have changed until then. */
  soon() {
    const pause = Math.max(1000, 10 * this.took);
    this.later(Math.max(200, this.at + pause - Date.now()));
  }

  later(pause) {
    // nobody looks at a hidden page; it asks again when it is shown
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
