// The restart of a failed channel, after confirmation.

import { ask, Feed, now } from '../data.js';
import { confirm, say } from '../dialog.js';
import { h } from '../dom.js';
import { count, span } from '../format.js';

const asked = new Set();

export function restartButton(name) {
  return h('button', { type: 'button', class: 'act', 'data-restart': name, disabled: asked.has(name), onclick: () => restart(name) },
    asked.has(name) ? 'Starting …' : 'Restart channel');
}

async function restart(name) {
  const yes = await confirm({
    title: `Restart channel ${name}?`,
    text: 'Its ledger is opened and its chain built again. Do this when the cause is gone; until it runs it takes no messages, as now.',
    yes: 'Restart',
  });
  if (!yes) return;
  asked.add(name);
  try {
    await ask(`channels/${encodeURIComponent(name)}/restart`, { method: 'POST' });
    say(`${name} is starting.`);
  } catch (error) {
    say(`${name} was not restarted: ${error.message}`);
  }
  asked.delete(name);
  for (const path of ['channels', `channels/${name}`, 'warnings']) Feed.all.get(path)?.refresh();
}

/** Returns the action for a channel that is retried, and the time of the next attempt. */
export function nextAttempt(channel) {
  if (channel.attempt === undefined) return null;
  const todo = channel.state === 'retrying' ? 'See to the brokers; the channel goes on by itself when they are back.' : 'Nothing to do unless it lasts.';
  return [h('p', { class: 'todo' }, todo), h('p', { class: 'soft' }, `Attempt ${count(channel.attempt)}${when(channel.next_attempt_ms)}.`)];
}

function when(next) {
  if (!next) return '';
  const left = next - now();
  return left > 0 ? `, again in ${span(Math.ceil(left / 1000) * 1000)}` : ', trying now';
}
