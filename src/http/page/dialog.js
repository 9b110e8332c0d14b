// Confirmation before what cannot be undone, and messages about its outcome.

import { draw, h } from './dom.js';

const dialog = document.getElementById('dialog');
const said = document.getElementById('said');
let timer = 0;

/** Asks for confirmation; resolves to whether the answer is yes. */
export function confirm({ title, text, yes }) {
  return show([h('h2', { id: 'asked' }, title), h('p', null, text)], [
    h('button', { class: 'act', value: 'no', autofocus: true }, 'Cancel'),
    h('button', { class: 'act main', value: 'yes' }, yes),
  ]);
}

/** Shows content until it is closed. */
export function show(content, buttons = [h('button', { class: 'act', value: 'no', autofocus: true }, 'Close')]) {
  dialog.setAttribute('aria-labelledby', 'asked');
  draw(dialog, h('form', { method: 'dialog' }, content, h('div', { class: 'row' }, buttons)));
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/** Shows a message for a while. */
export function say(text, ms = 6000) {
  clearTimeout(timer);
  said.textContent = text;
  timer = setTimeout(() => (said.textContent = ''), ms);
}

/** Shows why something failed, for as long as a longer text takes to read. */
export const sayFailure = (text) => say(text, 30_000);
