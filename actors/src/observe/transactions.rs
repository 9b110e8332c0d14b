//! The newest envelopes' lives, by their transaction ID. An envelope costs about 0.4 µs here: an entry when it is found valid,
//! and a look-up when it is answered and when its block is put together.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use orderer_core::channel::ChannelId;
use serde::Serialize;

/// So many envelopes are remembered, over all shards.
const REMEMBERED: usize = 1 << 16;
const SHARDS: usize = 16;
/// And so many blocks.
const BLOCKS_REMEMBERED: usize = 1 << 13;

/// Stands for a transaction ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxKey(u64);

/// What happens to an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Received,
    Validated,
    Acknowledged,
    Refused,
    Consumed,
    Cut,
    Written,
    Delivered,
}

/// See the module's description.
#[derive(Debug)]
pub struct Transactions {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    blocks: Mutex<Blocks>,
    /// What times are counted from, and when that was in microseconds since 1970.
    began: (Instant, u64),
}

#[derive(Debug, Default)]
struct Shard {
    lives: HashMap<u64, Life>,
    /// Oldest first.
    order: VecDeque<u64>,
}

/// Times are in microseconds since the node began; 0: not yet.
#[derive(Debug)]
struct Life {
    channel: ChannelId,
    received: u64,
    validated: u64,
    answered: u64,
    consumed: u64,
    cut: u64,
    block: u64,
    offset: Option<i64>,
    refused: bool,
}

#[derive(Debug, Default)]
struct Blocks {
    /// When it was written, and when it was first delivered.
    times: HashMap<(ChannelId, u64), (u64, u64)>,
    order: VecDeque<(ChannelId, u64)>,
}

/// An envelope's life, for people.
#[derive(Debug, Serialize)]
pub struct LifeShown {
    tx_id: String,
    channel: String,
    block: Option<u64>,
    offset: Option<i64>,
    refused: Option<&'static str>,
    steps: Vec<StepShown>,
}

#[derive(Debug, Serialize)]
struct StepShown {
    step: Step,
    at_us: u64,
    after_us: u64,
}

impl Default for Transactions {
    fn default() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let began = (Instant::now(), u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX));
        Self { hasher: RandomState::new(), shards: Default::default(), blocks: Mutex::default(), began }
    }
}

impl Transactions {
    /// What stands for a transaction; none for an envelope that names none.
    pub fn key(&self, tx_id: &[u8]) -> Option<TxKey> {
        (!tx_id.is_empty()).then(|| TxKey(self.hasher.hash_one(tx_id)))
    }

    fn shard(&self, key: TxKey) -> std::sync::MutexGuard<'_, Shard> {
        let index = usize::try_from(key.0 % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began.0).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn change(&self, key: Option<TxKey>, channel: &ChannelId, change: impl FnOnce(&mut Life)) {
        let Some(key) = key else { return };
        let mut shard = self.shard(key);
        if let Some(life) = shard.lives.get_mut(&key.0)
            && life.channel == *channel
        {
            change(life);
        }
    }

    /// An envelope was found valid.
    pub(super) fn accepted(&self, key: Option<TxKey>, channel: &ChannelId) {
        let Some(key) = key else { return };
        let now = self.micros(Instant::now());
        let life = Life {
            channel: channel.clone(),
            received: now,
            validated: now,
            answered: 0,
            consumed: 0,
            cut: 0,
            block: 0,
            offset: None,
            refused: false,
        };
        let mut shard = self.shard(key);
        if shard.lives.insert(key.0, life).is_none() {
            shard.order.push_back(key.0);
            if shard.order.len() > REMEMBERED / SHARDS
                && let Some(oldest) = shard.order.pop_front()
            {
                shard.lives.remove(&oldest);
            }
        }
    }

    /// It is answered, which tells when it was judged, too.
    pub(super) fn answered(
        &self,
        key: Option<TxKey>,
        channel: &ChannelId,
        judged: Instant,
        judging: Duration,
        well: bool,
    ) {
        let (now, judged) = (self.micros(Instant::now()), self.micros(judged));
        self.change(key, channel, |life| {
            (life.answered, life.validated, life.refused) = (now, judged, !well);
            life.received = judged.saturating_sub(u64::try_from(judging.as_micros()).unwrap_or(0)).max(1);
        });
    }

    /// It is in the topic.
    pub(super) fn produced(&self, tx_id: &[u8], channel: &ChannelId, offset: i64) {
        self.change(self.key(tx_id), channel, |life| life.offset = Some(offset));
    }

    /// It came out of the topic.
    pub(super) fn consumed(&self, tx_id: &[u8], channel: &ChannelId, offset: i64) {
        let now = self.micros(Instant::now());
        self.change(self.key(tx_id), channel, |life| (life.consumed, life.offset) = (now, Some(offset)));
    }

    /// It is in this block, which is not yet on the disk.
    pub(super) fn cut(&self, tx_id: &[u8], channel: &ChannelId, block: u64, at: Instant) {
        let now = self.micros(at);
        self.change(self.key(tx_id), channel, |life| (life.cut, life.block) = (now, block));
    }

    /// A block is on the disk.
    pub(super) fn written(&self, channel: &ChannelId, block: u64) {
        let now = self.micros(Instant::now());
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (channel.clone(), block);
        blocks.times.insert(key.clone(), (now, 0));
        blocks.order.push_back(key);
        if blocks.order.len() > BLOCKS_REMEMBERED
            && let Some(oldest) = blocks.order.pop_front()
        {
            blocks.times.remove(&oldest);
        }
    }

    /// It was sent to a client for the first time.
    pub(super) fn delivered(&self, channel: &ChannelId, block: u64) {
        let now = self.micros(Instant::now());
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, delivered @ 0)) = blocks.times.get_mut(&(channel.clone(), block)) {
            *delivered = now;
        }
    }

    /// What is remembered of an envelope.
    pub fn life(&self, tx_id: &str) -> Option<LifeShown> {
        let key = self.key(tx_id.as_bytes())?;
        let shard = self.shard(key);
        let life = shard.lives.get(&key.0)?;
        let (written, delivered) = {
            let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            let times = blocks.times.get(&(life.channel.clone(), life.block)).copied();
            times.filter(|_| life.cut > 0).unwrap_or_default()
        };
        let answered = if life.refused { Step::Refused } else { Step::Acknowledged };
        let times = [
            (Step::Received, life.received),
            (Step::Validated, life.validated),
            (answered, life.answered),
            (Step::Consumed, life.consumed),
            (Step::Cut, life.cut),
            (Step::Written, written),
            (Step::Delivered, delivered),
        ];
        let happened = times.into_iter().filter(|&(_, time)| time > 0);
        let shown = |(step, time): (Step, u64)| StepShown {
            step,
            at_us: self.began.1 + time,
            after_us: time.saturating_sub(life.received),
        };
        let mut steps: Vec<StepShown> = happened.map(shown).collect();
        steps.sort_by_key(|step| step.at_us);
        Some(LifeShown {
            tx_id: tx_id.to_owned(),
            channel: life.channel.to_string(),
            block: (written > 0).then_some(life.block),
            offset: life.offset,
            refused: life.refused.then_some("its chain did not take it"),
            steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelId {
        ChannelId::parse(name).unwrap()
    }

    #[test]
    fn a_life_is_told_in_its_order() {
        let (transactions, app) = (Transactions::default(), channel("app"));
        let key = transactions.key(b"tx");
        transactions.accepted(key, &app);
        transactions.cut(b"tx", &channel("other"), 1, Instant::now());
        transactions.cut(b"tx", &app, 7, Instant::now());
        assert_eq!(transactions.life("tx").unwrap().block, None, "it is not on the disk");
        transactions.written(&app, 7);
        transactions.answered(key, &app, Instant::now(), Duration::ZERO, true);
        transactions.answered(key, &channel("other"), Instant::now(), Duration::ZERO, false);
        transactions.delivered(&app, 7);
        let life = transactions.life("tx").unwrap();
        assert_eq!((life.block, life.channel.as_str(), life.steps.len()), (Some(7), "app", 6));
        assert_eq!(life.refused, None, "the same name in another channel is another envelope");
        assert!(life.steps.is_sorted_by_key(|step| step.at_us));
        assert!(transactions.life("another").is_none() && transactions.life("").is_none());
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let (transactions, app) = (Transactions::default(), channel("app"));
        for number in 0..2 * REMEMBERED {
            transactions.accepted(transactions.key(format!("tx {number}").as_bytes()), &app);
        }
        let remembered: usize = transactions.shards.iter().map(|shard| shard.lock().unwrap().lives.len()).sum();
        assert_eq!(remembered, REMEMBERED);
        assert!(transactions.life("tx 0").is_none());
        assert!(transactions.life(&format!("tx {}", 2 * REMEMBERED - 1)).is_some());
    }
}
