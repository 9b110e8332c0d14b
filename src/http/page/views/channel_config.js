// A channel's configuration in force: a summary, its policies, what it changed, and all of it as JSON.

import { copyButton } from '../clipboard.js';
import { h } from '../dom.js';
import { bytes, count, plural, shortName } from '../format.js';
import { body, composed, empty, pairs, search, sheet } from '../parts.js';
import { changes } from './changes.js';

const kept = { text: '' };
/** Maximum number of values that a search shows. */
const MAX_FOUND = 500;

export default {
  id: 'channel_config',
  part: 'channels',
  title: ([name]) => `${name}, configuration`,
  hasHeading: true,
  feeds: ([name]) => [[`channels/${name}/config`, 15_000], [`channels/${name}`, 5000]],
  render({ args: [name], values, redraw }) {
    const config = values[`channels/${name}/config`];
    if (config === undefined) return null;
    const channel = values[`channels/${name}`];
    const before = config.previous_block === null ? '' : ` from that of block ${count(config.previous_block)}`;
    return [
      h('div', { class: 'row' }, h('h1', null, h('a', { href: `#/channels/${name}`, title: name }, shortName(name)), ' configuration'),
        h('span', { class: 'soft' }, `sequence ${count(config.sequence)}, in block `, h('a', { href: `#/channels/${name}/blocks/${config.block}` }, count(config.block)))),
      sheet('Summary', null, body(pairs(...summary(config.config.channel_group ?? {})))),
      channel?.policies && policies(channel),
      sheet(`Changes${before}`, null, config.changes.length === 0 ? empty('It is the first configuration, or it has changed nothing.') : changes(config.changes)),
      whole(config.config, redraw),
    ];
  },
};

const valueOf = (group, name) => group?.values?.[name]?.value;
const capabilities = (group) => Object.keys(valueOf(group, 'Capabilities')?.capabilities ?? {}).join(', ');
const organizations = (group) => Object.keys(group?.groups ?? {}).join(', ');

/** Returns what an operator looks for first, as pairs. */
function summary(channel) {
  const { Orderer: orderer, Application: application, Consortiums: consortiums } = channel.groups ?? {};
  const [consensus, size] = [valueOf(orderer, 'ConsensusType'), valueOf(orderer, 'BatchSize')];
  const consenters = consensus?.metadata?.consenters ?? valueOf(orderer, 'Orderers')?.consenter_mapping ?? [];
  const addresses = [
    ...(valueOf(channel, 'OrdererAddresses')?.addresses ?? []),
    ...Object.values(orderer?.groups ?? {}).flatMap((group) => valueOf(group, 'Endpoints')?.addresses ?? []),
  ];
  const anchors = Object.values(application?.groups ?? {}).flatMap((group) => valueOf(group, 'AnchorPeers')?.anchor_peers ?? []);
  const list = (all) => all.map((one) => h('div', null, typeof one === 'string' ? one : `${one.host}:${one.port}`));
  return [
    ['Consensus', consensus && [consensus.type, consensus.state && consensus.state !== 'STATE_NORMAL' && h('strong', null, `, ${consensus.state}`)]],
    ['Consenters', consenters.length > 0 && list(consenters)],
    ['Orderer addresses', addresses.length > 0 && list([...new Set(addresses)])],
    ['Block', size && `at most ${plural(size.max_message_count, 'envelope')}, ${bytes(size.preferred_max_bytes)} preferred, an envelope up to ${bytes(size.absolute_max_bytes)}`],
    ['Batch timeout', valueOf(orderer, 'BatchTimeout')?.timeout],
    ['Orderer organizations', organizations(orderer)],
    ['Application organizations', organizations(application)],
    ['Anchor peers', anchors.length > 0 && list(anchors)],
    ['Consortium', valueOf(channel, 'Consortium')?.name],
    ['Consortiums', organizations(consortiums)],
    ['Capabilities', [['channel', channel], ['orderer', orderer], ['application', application]]
      .map(([name, group]) => [name, capabilities(group)]).filter(([, names]) => names !== '').map(([name, names]) => `${name} ${names}`).join('; ')],
  ];
}

function policies(channel) {
  const rows = channel.policies.map((one) => h('tr', { key: one.path }, h('td', { class: 'break' }, h('code', null, composed(one.path))), h('td', { class: 'break' }, one.rule)));
  return sheet('Policies', channel.organizations && h('span', { class: 'soft' }, plural(channel.organizations.length, 'organization'), ': ', channel.organizations.join(', ')),
    h('table', { class: 'stacked policies', 'aria-label': 'Policies' },
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Policy'), h('th', { scope: 'col' }, 'Satisfied by'))), h('tbody', null, rows)));
}

/** Returns all of the configuration, or the values that a search finds, by their paths. */
function whole(config, redraw) {
  const text = JSON.stringify(config, null, 2);
  const words = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
  const end = [search('Search the configuration', kept.text, (value) => {
    kept.text = value;
    redraw();
  }), copyButton(text, 'configuration', 'Copy JSON')];
  if (words.length === 0) return sheet('Configuration', end, body(h('pre', { tabindex: 0, 'aria-label': 'Configuration as JSON' }, text)));
  const found = flat('', config).filter((line) => words.every((word) => line.toLowerCase().includes(word)));
  return sheet('Configuration', end, found.length === 0 ? empty('No value matches.') : body(
    h('p', { class: 'soft small' }, found.length > MAX_FOUND ? `The first ${count(MAX_FOUND)} of ${plural(found.length, 'value')}` : plural(found.length, 'value')),
    h('pre', { tabindex: 0, 'aria-label': 'Values found' }, found.slice(0, MAX_FOUND).join('\n'))));
}

/** Returns each value with its path, as lines. */
function flat(path, value) {
  if (value === null || typeof value !== 'object') return [`${path} = ${JSON.stringify(value)}`];
  return Object.entries(value).flatMap(([name, below]) => flat(path === '' ? name : `${path}/${name}`, below));
}
