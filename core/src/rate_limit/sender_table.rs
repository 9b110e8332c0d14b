//! Table of senders, each with its rate meter.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::gcra::GcraMeter;

/// Maximum number of tracked senders. Senders beyond that share one meter.
const MAX_SENDERS: usize = 4096;
/// Maximum number of idle senders that a full table evicts at once, longest idle first. A sender that finds the table full
/// triggers this, at most once a second.
const EVICTION_BATCH: usize = 512;
/// A sender that has sent nothing for this long is removed; until then its figures are displayed.
const IDLE_EVICTION: Duration = Duration::from_secs(3600);

/// Consecutive rejections closer than this, in seconds, belong to one episode.
const QUIET_SECONDS: u64 = 60;

/// How a rejection relates to the earlier ones of the same sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionRepeat {
    /// There was no rejection in the minute before.
    First,
    /// There was one in the minute before; this is the first in the current second.
    FirstThisSecond,
    /// There was one in the current second already.
    Repeated,
}

/// A client or an organization.
#[derive(Debug, Default)]
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) organization: Arc<str>,
    pub(super) meter: GcraMeter,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Time of the last activity, in milliseconds since the node's start; 0 until the first one. Envelopes rejected before their
    /// signature is verified do not count, because any client can send those.
    last_seen_ms: AtomicU64,
    /// Time of the last rejection, in seconds since the node's start, plus one; 0 if there was none.
    refused_second: AtomicU64,
}

impl Sender {
    pub(super) fn new(name: String, organization: Arc<str>) -> Self {
        Self { name, organization, ..Self::default() }
    }

    /// Records activity at `now`. Returns the time of the activity before in milliseconds, 0 if there was none; of several
    /// concurrent callers, only one gets that time.
    fn touch(&self, now: Duration) -> u64 {
        self.last_seen_ms.swap(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed)
    }

    fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    fn quiet_for(&self, now: Duration) -> Duration {
        quiet_since(self.last_seen_ms(), now)
    }

    /// Counts `envelopes` as accepted.
    pub(super) fn accept(&self, envelopes: u64, now: Duration) {
        self.accepted.fetch_add(envelopes, Ordering::Relaxed);
        self.meter.count(envelopes, now);
    }

    /// Counts a rejection at `now` and returns how it relates to the earlier ones.
    pub(super) fn refuse(&self, now: Duration) -> RejectionRepeat {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let second = now.as_secs() + 1;
        match self.refused_second.swap(second, Ordering::Relaxed) {
            before if before == second => RejectionRepeat::Repeated,
            before if before > 0 && second.saturating_sub(before) < QUIET_SECONDS => RejectionRepeat::FirstThisSecond,
            _ => RejectionRepeat::First,
        }
    }

    /// Returns the time of the last rejection, since the node's start.
    pub(super) fn refused_at(&self) -> Option<Duration> {
        self.refused_second.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_secs)
    }
}

fn quiet_since(last_seen_ms: u64, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_millis(last_seen_ms))
}

/// Table of senders by key. Reading takes no lock; adding a sender copies the table.
#[derive(Debug)]
pub(super) struct SenderTable<K> {
    table: ArcSwap<HashMap<K, Arc<Sender>>>,
    others: Arc<Sender>,
    active: AtomicUsize,
    /// The second in which a full table was last searched for idle senders, which happens at most once a second.
    sought_second: AtomicU64,
    /// A sender without activity for this long is inactive and leaves its share to the others.
    inactivity: Duration,
}

impl<K: Hash + Eq + Clone> SenderTable<K> {
    pub(super) fn new(inactivity: Duration) -> Self {
        let others = Sender::new("others".to_owned(), Arc::default());
        Self {
            table: ArcSwap::default(),
            others: Arc::new(others),
            active: AtomicUsize::new(0),
            sought_second: AtomicU64::new(0),
            inactivity,
        }
    }

    /// Returns a sender that the table knows.
    pub(super) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Arc<Sender>>
    where
        K: Borrow<Q>,
    {
        self.table.load().get(key).cloned()
    }

    /// Records activity of a sender and returns it; adds the sender if the table does not know it yet.
    pub(super) fn touch<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        now: Duration,
        new: impl FnOnce() -> (K, Sender),
    ) -> Arc<Sender>
    where
        K: Borrow<Q>,
    {
        if let Some(sender) = self.find(key) {
            return self.heard(&sender, now);
        }
        let is_full = self.table.load().len() >= MAX_SENDERS;
        if is_full && self.sought_second.swap(now.as_secs(), Ordering::Relaxed) == now.as_secs() {
            return self.heard(&self.others, now);
        }
        let (key, sender) = new();
        // before another thread can find it, and remove it as one that never had activity
        sender.touch(now);
        let sender = Arc::new(sender);
        let mut given = Arc::clone(&sender);
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            if table.len() >= MAX_SENDERS {
                self.make_room(&mut table, now);
            }
            given = if table.len() < MAX_SENDERS {
                Arc::clone(table.entry(key.clone()).or_insert_with(|| Arc::clone(&sender)))
            } else {
                Arc::clone(&self.others)
            };
            table
        });
        if !Arc::ptr_eq(&given, &sender) {
            return self.heard(&given, now);
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        given
    }

    /// Records activity of a known sender, which becomes active if it was not.
    fn heard(&self, sender: &Arc<Sender>, now: Duration) -> Arc<Sender> {
        let before_ms = sender.touch(now);
        if before_ms == 0 || quiet_since(before_ms, now) > self.inactivity {
            self.active.fetch_add(1, Ordering::Relaxed);
        }
        Arc::clone(sender)
    }

    fn make_room(&self, table: &mut HashMap<K, Arc<Sender>>, now: Duration) {
        let idle = |sender: &Arc<Sender>| sender.quiet_for(now) > self.inactivity && sender.meter.is_full(now);
        let idle = table.iter().filter(|(_, sender)| idle(sender));
        let mut idle: Vec<(u64, K)> = idle.map(|(key, sender)| (sender.last_seen_ms(), key.clone())).collect();
        idle.sort_unstable_by_key(|(last_seen_ms, _)| *last_seen_ms);
        for (_, key) in idle.iter().take(EVICTION_BATCH) {
            table.remove(key);
        }
    }

    /// Recounts the active senders and removes those that were idle for long. To be called every second.
    pub(super) fn evict_idle(&self, now: Duration) {
        let is_old = |sender: &Sender| sender.quiet_for(now) > IDLE_EVICTION && sender.meter.is_full(now);
        let table = self.table.load();
        if table.values().any(|sender| is_old(sender)) {
            self.table.rcu(|table| {
                let mut table = HashMap::clone(table);
                table.retain(|_, sender| !is_old(sender));
                table
            });
        }
        let active = self.everybody(&table).filter(|sender| sender.quiet_for(now) <= self.inactivity).count();
        self.active.store(active, Ordering::Relaxed);
    }

    /// Returns the number of active senders, at least 1.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed).max(1)
    }

    /// Returns all recorded senders, each with whether it is active.
    pub(super) fn all(&self, now: Duration) -> Vec<(Arc<Sender>, bool)> {
        let shown = |sender: &Arc<Sender>| (Arc::clone(sender), sender.quiet_for(now) <= self.inactivity);
        let table = self.table.load();
        self.everybody(&table).map(shown).collect()
    }

    /// Iterates over the senders of the table, then the shared one if it was ever used.
    fn everybody<'a>(&'a self, table: &'a HashMap<K, Arc<Sender>>) -> impl Iterator<Item = &'a Arc<Sender>> {
        table.values().chain((self.others.last_seen_ms() > 0).then_some(&self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INACTIVITY: Duration = Duration::from_secs(5);

    fn touch(senders: &SenderTable<String>, name: &str, second: u64) -> Arc<Sender> {
        let new = || (name.to_owned(), Sender::new(name.to_owned(), Arc::default()));
        senders.touch(name, Duration::from_secs(second), new)
    }

    #[test]
    fn who_is_quiet_leaves_its_share_and_has_it_again_when_it_is_back() {
        let senders = SenderTable::new(INACTIVITY);
        touch(&senders, "a", 1);
        touch(&senders, "b", 1);
        assert_eq!(senders.active(), 2);
        touch(&senders, "a", 7);
        senders.evict_idle(Duration::from_secs(7));
        assert_eq!(senders.active(), 1);
        touch(&senders, "b", 8);
        assert_eq!(senders.active(), 2);
    }

    #[test]
    fn who_is_quiet_for_long_is_forgotten() {
        let senders = SenderTable::new(INACTIVITY);
        touch(&senders, "a", 1).accepted.store(7, Ordering::Relaxed);
        senders.evict_idle(Duration::from_secs(3000));
        assert_eq!(touch(&senders, "a", 3000).accepted.load(Ordering::Relaxed), 7);
        senders.evict_idle(Duration::from_secs(6700));
        assert!(senders.find("a").is_none());
    }

    #[test]
    fn a_full_table_makes_room_for_many_who_come_at_once() {
        let senders = SenderTable::new(INACTIVITY);
        for number in 0..MAX_SENDERS {
            touch(&senders, &number.to_string(), 1);
        }
        senders.evict_idle(Duration::from_secs(20));
        for number in 0..100 {
            let name = format!("new {number}");
            assert_eq!(touch(&senders, &name, 20).name, name);
        }
        assert_eq!(senders.active(), 100);
        senders.evict_idle(Duration::from_secs(20));
        assert_eq!(
            (senders.active(), senders.all(Duration::from_secs(20)).len()),
            (100, MAX_SENDERS - EVICTION_BATCH + 100)
        );
    }

    #[test]
    fn those_without_a_place_have_one_share_together() {
        let senders = SenderTable::new(INACTIVITY);
        for number in 0..MAX_SENDERS {
            touch(&senders, &number.to_string(), 1);
        }
        for second in 2..5 {
            touch(&senders, "late", second);
            touch(&senders, "later", second);
            assert_eq!(senders.active(), MAX_SENDERS + 1);
            senders.evict_idle(Duration::from_secs(second));
            assert_eq!(senders.active(), MAX_SENDERS + 1);
        }
    }

    #[test]
    fn no_more_senders_are_told_apart_than_there_is_room_for() {
        let senders = SenderTable::new(INACTIVITY);
        for number in 0..MAX_SENDERS {
            touch(&senders, &number.to_string(), 1);
        }
        assert_eq!(touch(&senders, "late", 2).name, "others");
        assert_eq!(touch(&senders, "later", 2).name, "others");
        assert_eq!(senders.all(Duration::from_secs(2)).len(), MAX_SENDERS + 1);
        // the senders of the first second are inactive now and are evicted
        assert_eq!(touch(&senders, "last", 20).name, "last");
    }
}
