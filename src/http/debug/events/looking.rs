//! Polls the published state for all readers, in one task, and only while there are any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::seen::{Event, Seen};

/// One poll: the state that was read, and the differences from the poll before.
pub(super) struct Look {
    number: u64,
    pub(super) seen: Seen,
    pub(super) events: Vec<Event>,
}

type Newest = watch::Sender<Option<Arc<Look>>>;

/// Starts and shares the polling task.
pub(super) struct Looking {
    every: Duration,
    /// The sender of the polling task, while there is one.
    newest: Mutex<Weak<Newest>>,
}

/// One reader's subscription. It holds the latest poll only, so nothing accumulates for a reader that does not read.
pub(super) struct Looks {
    newest: watch::Receiver<Option<Arc<Look>>>,
    last: Option<Arc<Look>>,
}

impl Looking {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, newest: Mutex::default() }
    }

    /// Subscribes to the polls; the first subscriber starts the task.
    pub(super) fn follow(self: &Arc<Self>, look: impl Fn() -> Seen + Clone + Send + 'static) -> Looks {
        let mut current = self.lock();
        let newest = current.upgrade().unwrap_or_else(|| {
            let newest = Arc::new(watch::Sender::new(None));
            *current = Arc::downgrade(&newest);
            tokio::spawn(Arc::clone(self).go_on(Arc::clone(&newest), look));
            newest
        });
        Looks { newest: newest.subscribe(), last: None }
    }

    async fn go_on(self: Arc<Self>, newest: Arc<Newest>, look: impl Fn() -> Seen + Clone + Send + 'static) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.nobody_follows(&newest) {
                return;
            }
            let (look, before) = (look.clone(), newest.borrow().clone());
            // reads thousands of cells: not on a thread that serves
            let looked = tokio::task::spawn_blocking(move || Look::after(before.as_deref(), look()));
            // after a panic the readers' streams end, and the next request starts another task
            let Ok(now) = looked.await else { return };
            newest.send_replace(Some(Arc::new(now)));
        }
    }

    /// Returns whether no reader is left. If so, the next subscriber starts another task.
    fn nobody_follows(&self, newest: &Newest) -> bool {
        let mut current = self.lock();
        let nobody = newest.receiver_count() == 0;
        if nobody {
            *current = Weak::new();
        }
        nobody
    }

    fn lock(&self) -> MutexGuard<'_, Weak<Newest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    pub(super) fn after(before: Option<&Self>, seen: Seen) -> Self {
        let events = before.map(|before| seen.differences(&before.seen)).unwrap_or_default();
        Self { number: before.map_or(0, |before| before.number) + 1, seen, events }
    }

    /// Returns the number of polls between these two.
    pub(super) fn left_out_since(&self, before: &Self) -> u64 {
        self.number.saturating_sub(before.number + 1)
    }
}

impl Looks {
    /// Returns the poll that this reader was given last, if any, and the latest one that it was not given. `None`
    /// when the task has ended.
    ///
    /// # Cancel safety
    /// A poll that was not returned is returned by the next call.
    pub(super) async fn next(&mut self) -> Option<(Option<Arc<Look>>, Arc<Look>)> {
        let told = self.last.as_ref().map_or(0, |last| last.number);
        let is_new = |look: &Option<Arc<Look>>| look.as_ref().is_some_and(|look| look.number > told);
        let now = self.newest.wait_for(is_new).await.ok()?.clone()?;
        Some((self.last.replace(Arc::clone(&now)), now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::tests::seen;
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Returns polls that each read one block more, and counts them.
    fn counted(looks: &Arc<AtomicU64>) -> impl Fn() -> Seen + Clone + Send + 'static {
        let looks = Arc::clone(looks);
        move || seen("it runs", looks.fetch_add(1, Ordering::SeqCst), 0, 0)
    }

    #[tokio::test]
    async fn one_look_serves_all_readers_and_there_are_none_without() {
        let (looking, count) = (Arc::new(Looking::new(Duration::from_millis(1))), Arc::default());
        let mut readers: Vec<Looks> = (0..20).map(|_| looking.follow(counted(&count))).collect();
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
        assert!(before.is_none() && now.number == 1 && now.events.is_empty(), "who comes later begins anew");
        assert!(count.load(Ordering::SeqCst) > looked);
    }

    #[tokio::test]
    async fn a_slow_reader_is_given_the_newest_look_and_knows_how_many_it_missed() {
        let (looking, count) = (Arc::new(Looking::new(Duration::from_millis(1))), Arc::default());
        let (mut slow, mut quick) = (looking.follow(counted(&count)), looking.follow(counted(&count)));
        let (_, first) = slow.next().await.expect("somebody looks");
        while quick.next().await.is_some_and(|(_, now)| now.number < first.number + 4) {}
        let (before, now) = slow.next().await.expect("somebody looks");
        assert_eq!(before.map(|before| before.number), Some(first.number));
        assert_eq!(now.left_out_since(&first), now.number - first.number - 1);
        assert!(now.left_out_since(&first) >= 3);
        assert_eq!(
            now.seen.differences(&first.seen)[0].count,
            Some(now.number - first.number),
            "nothing is lost of it"
        );
    }
}
