// The restart of a failed channel, after confirmation.

import { ask, conversation, Feed, now } from '../data.js';
import { confirm, say, sayFailure } from '../dialog.js';
import { h } from '../dom.js';
import { count, span } from '../format.js';

const asked = new Set();

export function restartButton(name) {
  return h('button', { type: 'button', class: 'act', 'data-restart': name, disabled: asked.has(name) || conversation.silentSince > 0, onclick: () => restart(name) },
    asked.has(name) ? 'Restarting …' : 'Restart channel');
}

async function restart(name) {
  const yes = await confirm({
    title: `Restart channel ${name}?`,
    text: 'The node opens the ledger of the channel and starts its chain again. Do this when the cause is removed. Until the chain runs, the channel accepts no messages, as now.',
    yes: 'Restart',
  });
  if (!yes) return;
  asked.add(name);
  try {
    await ask(`channels/${encodeURIComponent(name)}/restart`, { method: 'POST' });
    say(`${name} is restarting.`);
  } catch (error) {
    sayFailure(`Failed to restart ${name}: ${error.message}`);
  }
  asked.delete(name);
  for (const path of ['channels', `channels/${name}`, 'warnings']) Feed.all.get(path)?.refresh();
}

/** Returns the action for a channel that is retried, and the time of the next attempt. */
export function nextAttempt(channel) {
  if (channel.attempt === undefined) return null;
  const todo = channel.state === 'retrying' ? 'Check the brokers. The channel continues by itself when they are available again.' : 'No action needed unless this state lasts.';
  return [h('p', { class: 'todo' }, todo), h('p', { class: 'soft' }, `Attempt ${count(channel.attempt)}${when(channel.next_attempt_ms)}.`)];
}

function when(next) {
  if (!next) return '';
  const left = next - now();
  return left > 0 ? `, next in ${span(Math.ceil(left / 1000) * 1000)}` : ', in progress';
}
