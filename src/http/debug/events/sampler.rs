//! Polls the published state for all readers, in one task, and only while there are any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::snapshot::{Event, NodeSnapshot};

/// One poll: the state that was read, and the differences from the poll before.
pub(super) struct Sample {
    number: u64,
    pub(super) seen: NodeSnapshot,
    pub(super) events: Vec<Event>,
}

type LatestSample = watch::Sender<Option<Arc<Sample>>>;

/// Starts and shares the polling task.
pub(super) struct SnapshotSampler {
    every: Duration,
    /// The sender of the polling task, while there is one.
    newest: Mutex<Weak<LatestSample>>,
}

/// One reader's subscription. It holds the latest poll only, so nothing accumulates for a reader that does not read.
pub(super) struct SnapshotReceiver {
    newest: watch::Receiver<Option<Arc<Sample>>>,
    last: Option<Arc<Sample>>,
}

impl SnapshotSampler {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, newest: Mutex::default() }
    }

    /// Subscribes to the polls; the first subscriber starts the task.
    pub(super) fn follow(
        self: &Arc<Self>,
        look: impl Fn() -> NodeSnapshot + Clone + Send + 'static,
    ) -> SnapshotReceiver {
        let mut current = self.lock();
        let newest = current.upgrade().unwrap_or_else(|| {
            let newest = Arc::new(watch::Sender::new(None));
            *current = Arc::downgrade(&newest);
            tokio::spawn(Arc::clone(self).go_on(Arc::clone(&newest), look));
            newest
        });
        SnapshotReceiver { newest: newest.subscribe(), last: None }
    }

    async fn go_on(
        self: Arc<Self>,
        newest: Arc<LatestSample>,
        look: impl Fn() -> NodeSnapshot + Clone + Send + 'static,
    ) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.stop_if_unused(&newest) {
                return;
            }
            let (look, before) = (look.clone(), newest.borrow().clone());
            // reads thousands of cells: not on a thread that serves
            let looked = tokio::task::spawn_blocking(move || Sample::after(before.as_deref(), look()));
            // after a panic the readers' streams end, and the next request starts another task
            let Ok(now) = looked.await else { return };
            newest.send_replace(Some(Arc::new(now)));
        }
    }

    /// Returns whether no reader is left. If so, the next subscriber starts another task.
    fn stop_if_unused(&self, newest: &LatestSample) -> bool {
        let mut current = self.lock();
        let nobody = newest.receiver_count() == 0;
        if nobody {
            *current = Weak::new();
        }
        nobody
    }

    fn lock(&self) -> MutexGuard<'_, Weak<LatestSample>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    pub(super) fn after(before: Option<&Self>, seen: NodeSnapshot) -> Self {
        let events = before.map(|before| seen.diff(&before.seen)).unwrap_or_default();
        Self { number: before.map_or(0, |before| before.number) + 1, seen, events }
    }

    /// Returns the number of polls between these two.
    pub(super) fn samples_missed_since(&self, before: &Self) -> u64 {
        self.number.saturating_sub(before.number + 1)
    }
}

impl SnapshotReceiver {
    /// Returns the poll that this reader was given last, if any, and the latest one that it was not given. `None`
    /// when the task has ended.
    ///
    /// # Cancel safety
    /// A poll that was not returned is returned by the next call.
    pub(super) async fn next(&mut self) -> Option<(Option<Arc<Sample>>, Arc<Sample>)> {
        let told = self.last.as_ref().map_or(0, |last| last.number);
        let is_new = |look: &Option<Arc<Sample>>| look.as_ref().is_some_and(|look| look.number > told);
        let now = self.newest.wait_for(is_new).await.ok()?.clone()?;
        Some((self.last.replace(Arc::clone(&now)), now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::seen;
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Returns polls that each read one block more, and counts them.
    fn counted(looks: &Arc<AtomicU64>) -> impl Fn() -> NodeSnapshot + Clone + Send + 'static {
        let looks = Arc::clone(looks);
        move || seen("it runs", looks.fetch_add(1, Ordering::SeqCst), 0, 0)
    }

    #[tokio::test]
    async fn one_look_serves_all_readers_and_there_are_none_without() {
        let (looking, count) = (Arc::new(SnapshotSampler::new(Duration::from_millis(1))), Arc::default());
        let mut readers: Vec<SnapshotReceiver> = (0..20).map(|_| looking.follow(counted(&count))).collect();
        let mut newest = 0;
        while newest < 5 {
            for reader in &mut readers {
                let (before, now) = reader.next().await.expect("somebody looks");
                assert!(before.is_none_or(|before| now.number > before.number));
                newest = now.number;
            }
        }
        // one more poll may have run since
        let looked = count.load(Ordering::SeqCst);
        assert!(looked >= newest && looked <= newest + 2, "{looked} looks, {newest} told");

        let task = looking.lock().clone();
        drop(readers);
        while task.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        let looked = count.load(Ordering::SeqCst);
        let mut again = looking.follow(counted(&count));
        let (before, now) = again.next().await.expect("somebody looks");
        // on a busy machine the first poll may be over before this reader runs
        let since = count.load(Ordering::SeqCst) - looked;
        assert!(before.is_none() && (1..=since).contains(&now.number), "who comes later begins anew");
        assert!(now.number > 1 || now.events.is_empty(), "nothing was before it");
    }

    #[tokio::test]
    async fn a_slow_reader_is_given_the_newest_look_and_knows_how_many_it_missed() {
        let (looking, count) = (Arc::new(SnapshotSampler::new(Duration::from_millis(1))), Arc::default());
        let (mut slow, mut quick) = (looking.follow(counted(&count)), looking.follow(counted(&count)));
        let (_, first) = slow.next().await.expect("somebody looks");
        while quick.next().await.is_some_and(|(_, now)| now.number < first.number + 4) {}
        let (before, now) = slow.next().await.expect("somebody looks");
        assert_eq!(before.map(|before| before.number), Some(first.number));
        assert_eq!(now.samples_missed_since(&first), now.number - first.number - 1);
        assert!(now.samples_missed_since(&first) >= 3);
        assert_eq!(now.seen.diff(&first.seen)[0].count, Some(now.number - first.number), "nothing is lost of it");
    }
}
