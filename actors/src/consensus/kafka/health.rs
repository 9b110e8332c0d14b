//! The health of a channel's topic, whether or not anything is ordered: queried every few seconds, published beside the
//! channel's state. Nothing is written to the topic for it.

use std::sync::Arc;
use std::time::Duration;

use orderer_core::ordering::kafka::LastBlock;
use orderer_kafka::{Cluster, Offsets, Setting, TopicDescription};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::chain_state::error_chain;
use crate::channel::{Channel, TopicHealth};

/// Interval between requests for the topic's leader and replicas.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Number of these intervals between requests for settings and offsets.
const POLLS_PER_CONFIG_READ: u32 = 30;
/// With fewer hours left an operator has to act.
const RETENTION_WARNING_HOURS: f64 = 48.0;
const HOUR_SECS: f64 = 3600.0;

/// The result of one query of the brokers.
#[derive(Debug)]
struct TopicSample {
    /// Since the watch began.
    at: Duration,
    topic: Result<TopicDescription, String>,
    /// The last record that is in a block.
    stored: i64,
}

/// Values that are kept from one request to the next.
#[derive(Debug, Default)]
struct TopicHistory {
    least_in_sync: Option<usize>,
    forgets_after: Option<Duration>,
    offsets: Option<Offsets>,
    /// The oldest offset that was first reported, and the time of that.
    first_seen: Option<(Duration, i64)>,
}

impl TopicHistory {
    fn take_settings(&mut self, settings: &[Setting]) {
        let number = |name: &str| {
            let setting = settings.iter().find(|setting| setting.name == name);
            setting.and_then(|setting| setting.value.as_ref()?.parse::<i64>().ok())
        };
        self.least_in_sync = number("min.insync.replicas").and_then(|least| usize::try_from(least).ok());
        // -1 is for ever
        self.forgets_after = number("retention.ms").and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    }

    fn take_offsets(&mut self, at: Duration, offsets: Offsets) {
        self.offsets = Some(offsets);
        self.first_seen.get_or_insert((at, offsets.earliest));
    }

    /// By the pace at which the oldest records went so far.
    fn hours_left(&self, at: Duration, stored: i64) -> Option<f64> {
        let ((since, first), offsets) = (self.first_seen?, self.offsets?);
        let (gone, elapsed) = (offsets.earliest - first, at.checked_sub(since)?);
        if gone <= 0 || elapsed.is_zero() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (gone, left) = (gone as f64, stored.saturating_sub(offsets.earliest).max(0) as f64);
        Some(left / gone * elapsed.as_secs_f64() / HOUR_SECS)
    }
}

fn assess(sample: &TopicSample, memory: &TopicHistory) -> TopicHealth {
    let mut health = TopicHealth {
        least_in_sync: memory.least_in_sync,
        offsets: memory.offsets.map(|offsets| (offsets.earliest, offsets.next)),
        forgets_after_hours: memory.forgets_after.map(|after| after.as_secs_f64() / HOUR_SECS),
        hours_left: memory.hours_left(sample.at, sample.stored),
        ..TopicHealth::default()
    };
    match &sample.topic {
        Err(trouble) => health.trouble = Some(trouble.clone()),
        Ok(topic) => {
            health.leader = topic.leader;
            (health.replicas, health.in_sync) = (topic.replicas.len(), topic.in_sync.len());
            // a topic is followed once it has taken a record: brokers that want more copies than there are (Kafka 3.9 counts
            // all there are) are content with all of them
            let least = memory.least_in_sync.unwrap_or(1).min(health.replicas.max(1));
            if topic.leader.is_none() {
                health.trouble = Some(format!("topic {}: it has no leader", topic.name));
            } else if health.in_sync < least {
                let in_sync = health.in_sync;
                health.trouble =
                    Some(format!("topic {}: {in_sync} replicas are in sync, a record needs {least}", topic.name));
            }
        }
    }
    health
}

/// A watch over one topic; it ends with the chain that follows the topic.
pub(super) struct TopicMonitor {
    channel: Arc<Channel>,
    task: JoinHandle<()>,
}

impl TopicMonitor {
    pub(super) fn start(channel: Arc<Channel>, cluster: Arc<dyn Cluster>, io: &tokio::runtime::Handle) -> Self {
        let task = io.spawn(watch(Arc::clone(&channel), cluster));
        Self { channel, task }
    }
}

impl Drop for TopicMonitor {
    fn drop(&mut self) {
        self.task.abort();
        self.channel.kafka_health.store(None);
    }
}

async fn watch(channel: Arc<Channel>, cluster: Arc<dyn Cluster>) {
    let (began, mut memory, mut logged) = (Instant::now(), TopicHistory::default(), LoggedState::default());
    let name = channel.id().as_str();
    let mut samples = 0_u32;
    loop {
        if samples.is_multiple_of(POLLS_PER_CONFIG_READ) {
            if let Ok(settings) = cluster.topic_settings(name).await {
                memory.take_settings(&settings);
            }
            if let Ok(offsets) = cluster.consumer(name).offsets().await {
                memory.take_offsets(began.elapsed(), offsets);
            }
        }
        samples = samples.wrapping_add(1);
        let topic = cluster.topic(name).await.map_err(|e| error_chain(&e));
        let stored = LastBlock::parse(&channel.ledger().last_block()).map(|last| last.metadata.last_offset_persisted.0);
        let sample = TopicSample { at: began.elapsed(), topic, stored: stored.unwrap_or_default() };
        let health = assess(&sample, &memory);
        logged.log(&channel, &health);
        channel.kafka_health.store(Some(Arc::new(health)));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The values that were logged last: a warning is repeated when its cause changes, that of the hours left when they have halved.
#[derive(Debug, Default)]
struct LoggedState {
    trouble: Option<String>,
    forgets: bool,
    hours_left: Option<f64>,
}

impl LoggedState {
    fn log(&mut self, channel: &Channel, health: &TopicHealth) {
        let channel = channel.id();
        if self.trouble != health.trouble {
            if let Some(trouble) = &health.trouble {
                tracing::warn!(target: "orderer.kafka", %channel, %trouble, "the topic has a problem");
            } else {
                tracing::info!(target: "orderer.kafka", %channel, "the topic has recovered");
            }
            self.trouble.clone_from(&health.trouble);
        }
        if let Some(hours) = health.forgets_after_hours.filter(|_| !self.forgets) {
            self.forgets = true;
            tracing::warn!(target: "orderer.kafka", %channel, hours,
                "the topic deletes records: the channel of an orderer that is offline for longer fails (set the topic's retention.ms to -1)");
        }
        // logged again when it has halved
        let is_due =
            |hours: f64| hours < RETENTION_WARNING_HOURS && self.hours_left.is_none_or(|logged| hours < logged / 2.0);
        if let Some(hours) = health.hours_left.filter(|hours| is_due(*hours)) {
            self.hours_left = Some(hours);
            tracing::warn!(target: "orderer.kafka", %channel, hours,
                "the topic will soon have deleted the last record that this orderer has consumed (set its retention.ms to -1)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what a look gives")]
    fn topic(in_sync: &[i32], leader: Option<i32>) -> Result<TopicDescription, String> {
        Ok(TopicDescription {
            name: "app".to_owned(),
            partitions: 1,
            leader,
            replicas: vec![1, 2, 3],
            in_sync: in_sync.to_vec(),
        })
    }

    fn setting(name: &str, value: &str) -> Setting {
        Setting { name: name.to_owned(), value: Some(value.to_owned()), is_own: true }
    }

    fn sample(topic: Result<TopicDescription, String>) -> TopicSample {
        TopicSample { at: Duration::from_secs(3600), topic, stored: 500 }
    }

    #[test]
    fn a_topic_that_takes_no_record_is_not_called_healthy() {
        let mut memory = TopicHistory::default();
        memory.take_settings(&[setting("min.insync.replicas", "2"), setting("retention.ms", "-1")]);
        let trouble = |topic| assess(&sample(topic), &memory).trouble;
        assert_eq!(trouble(topic(&[1, 2, 3], Some(1))), None);
        assert_eq!(trouble(topic(&[1, 3], Some(1))), None);
        let too_few = "topic app: 1 replicas are in sync, a record needs 2";
        assert_eq!(trouble(topic(&[1], Some(1))).as_deref(), Some(too_few));
        assert_eq!(trouble(topic(&[], None)).as_deref(), Some("topic app: it has no leader"));
        assert_eq!(trouble(Err("no answer".to_owned())).as_deref(), Some("no answer"));
        let single = TopicDescription { replicas: vec![1], ..topic(&[1], Some(1)).unwrap() };
        assert_eq!(trouble(Ok(single)), None, "Kafka 3.9 takes records with all copies there are");
        assert_eq!(assess(&sample(topic(&[1, 2], Some(1))), &memory).forgets_after_hours, None);
    }

    #[test]
    fn the_hours_until_retention_reaches_what_was_taken_follow_from_its_pace() {
        let mut memory = TopicHistory::default();
        memory.take_settings(&[setting("retention.ms", "604800000")]);
        let hours = |memory: &TopicHistory, at: u64, stored| {
            let sample = TopicSample { at: Duration::from_secs(at), stored, topic: topic(&[1, 2, 3], Some(1)) };
            assess(&sample, memory).hours_left
        };
        memory.take_offsets(Duration::ZERO, Offsets { earliest: 0, next: 500 });
        assert_eq!(hours(&memory, 3600, 500), None, "nothing was forgotten yet");
        memory.take_offsets(Duration::from_secs(7200), Offsets { earliest: 100, next: 600 });
        // a hundred in two hours, four hundred to go
        assert_eq!(hours(&memory, 7200, 500), Some(8.0));
        assert_eq!(hours(&memory, 7200, 50), Some(0.0));
        assert_eq!(assess(&sample(topic(&[1], Some(1))), &memory).forgets_after_hours, Some(168.0));
    }
}
