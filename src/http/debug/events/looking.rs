//! One task looks for all readers, and only while there are any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::seen::{Event, Seen};

/// What was seen, and what differs from the look before.
pub(super) struct Look {
    number: u64,
    pub(super) seen: Seen,
    pub(super) events: Vec<Event>,
}

type Newest = watch::Sender<Option<Arc<Look>>>;

/// See the module's description.
pub(super) struct Looking {
    every: Duration,
    /// Of the task that looks, if one does.
    newest: Mutex<Weak<Newest>>,
}

/// What one reader follows: the newest look, so nothing gathers for a reader that does not read.
pub(super) struct Looks {
    newest: watch::Receiver<Option<Arc<Look>>>,
    last: Option<Arc<Look>>,
}

impl Looking {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, newest: Mutex::default() }
    }

    /// Follows the looks; the first who does has them begin.
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
            // thousands of cells are read: not on a thread that serves
            let looked = tokio::task::spawn_blocking(move || Look::after(before.as_deref(), look()));
            // after a panic the readers' streams end, and who asks again has another task look
            let Ok(now) = looked.await else { return };
            newest.send_replace(Some(Arc::new(now)));
        }
    }

    /// Whether it is over; who comes then begins anew.
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

    /// How many were between these two.
    pub(super) fn left_out_since(&self, before: &Self) -> u64 {
        self.number.saturating_sub(before.number + 1)
    }
}

impl Looks {
    /// The look that was told last, none at first, and the newest that was not told. None when nobody looks any more.
    ///
    /// # Cancel safety
    /// A look that nobody was given is given to who asks next.
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

    /// Looks that see one block more each, and how many there were.
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
        // one more may have been taken since
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
