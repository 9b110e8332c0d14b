// The view for an address that names none.

import { h } from '../dom.js';

export default {
  id: 'unknown',
  title: () => 'Unknown view',
  hasHeading: true,
  feeds: () => [],
  render: ({ args: [address] }) => [
    h('h1', null, 'Unknown view'),
    h('p', null, 'This page has no view ', h('code', { class: 'break' }, address), '. ', h('a', { href: '#/channels' }, 'Show the channels'), '.'),
  ],
};
