// Copies texts.

import { say, sayFailure } from './dialog.js';
import { h } from './dom.js';

/** Returns a button that copies a text. `name` tells which. */
export const copyButton = (text, name, label = 'Copy') =>
  h('button', { type: 'button', class: 'copy', 'aria-label': `${label} ${name}`, onclick: () => copy(text, name) }, label);

/** Returns a text that machines read, with a button that copies it. */
export const copyable = (text, name) => (text ? [h('code', null, text), ' ', copyButton(text, name)] : null);

async function copy(text, name) {
  try {
    // browsers offer the clipboard on secure pages only
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else if (!copyBySelection(text)) throw new Error('the browser permits it on secure pages only');
    say(`Copied the ${name}.`);
  } catch (error) {
    sayFailure(`Failed to copy the ${name}: ${error.message}`);
  }
}

function copyBySelection(text) {
  const field = document.createElement('textarea');
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  return copied;
}
