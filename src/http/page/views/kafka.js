// The state of a channel's topic: the channel's position in it, and the brokers' replicas.

import { h } from '../dom.js';
import { count, span } from '../format.js';
import { body, figures, sheet } from '../parts.js';
import { sentence } from './channels.js';

const HOUR = 3_600_000;

export function kafka({ kafka: topic }) {
  const [oldest, end] = topic.offsets ?? [null, null];
  const high = topic.end ?? end;
  const left = topic.hours_left;
  const thin = topic.least_in_sync !== null && topic.in_sync < topic.least_in_sync;
  return sheet('Kafka topic', null, body(
    topic.trouble && h('p', { class: 'notice bad' }, sentence(topic.trouble)),
    figures(
      ['Stored offset', count(topic.stored), 'the last record in a block'],
      ['Next offset', count(topic.taken_in), 'the record that is consumed next'],
      ['High watermark', count(high), 'the end of the topic'],
      ['Lag', count(topic.lag), 'records not consumed', topic.lag > 1000 ? 'busy' : null],
      ['Log start', count(oldest), 'the oldest record'],
      ['Retention', left === null ? 'unknown' : span(left * HOUR),
        left === null ? null : 'until the last consumed record is deleted', left !== null && (left < 12 ? 'bad' : left < 48 ? 'busy' : null)],
      ['Leader', topic.leader === null ? 'none' : `broker ${topic.leader}`, null, topic.leader === null ? 'bad' : null],
      ['In sync', `${topic.in_sync} of ${topic.replicas}`, topic.least_in_sync !== null && `${topic.least_in_sync} needed`,
        thin ? 'bad' : topic.in_sync < topic.replicas ? 'busy' : null],
    )));
}
