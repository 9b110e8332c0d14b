//! Whether the tree's threads still do what they are told: each is asked to do next to nothing, and has to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_rt::ArbiterHandle;

/// Asks every arbiter, one question at a time each.
pub struct Pulse {
    asked: u64,
    threads: Vec<(ArbiterHandle, Arc<AtomicU64>)>,
}

impl Pulse {
    /// Of these threads.
    pub fn of(arbiters: impl IntoIterator<Item = ArbiterHandle>) -> Self {
        Self { asked: 0, threads: arbiters.into_iter().map(|arbiter| (arbiter, Arc::default())).collect() }
    }

    /// Whether every thread has answered what it was asked the last time; then all are asked again. One that has not is not
    /// asked anything more until it does, so a stuck thread gathers nothing.
    pub fn beats(&mut self) -> bool {
        if self.threads.iter().any(|(_, answered)| answered.load(Ordering::Acquire) != self.asked) {
            return false;
        }
        self.asked += 1;
        let asked = self.asked;
        let ask = |(arbiter, answered): &(ArbiterHandle, Arc<AtomicU64>)| {
            let answered = Arc::clone(answered);
            arbiter.spawn_fn(move || answered.store(asked, Ordering::Release))
        };
        // who cannot be asked has ended
        self.threads.iter().filter(|thread| !ask(thread)).count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_rt::Arbiter;
    use std::sync::mpsc;
    use tokio::sync::oneshot;

    /// Waits until the thread has done all that it was given before.
    async fn settled(arbiter: &Arbiter) {
        let (done, is_done) = oneshot::channel::<()>();
        assert!(arbiter.spawn_fn(move || drop(done)));
        let _ = is_done.await;
    }

    #[test]
    fn a_stuck_thread_stops_the_pulse_until_it_goes_on() {
        actix::System::new().block_on(async {
            let (well, stuck) = (Arbiter::new(), Arbiter::new());
            let mut pulse = Pulse::of([well.handle(), stuck.handle()]);
            assert!(pulse.beats(), "nothing was asked yet");
            settled(&well).await;
            settled(&stuck).await;
            assert!(pulse.beats());
            settled(&stuck).await;
            let (go_on, until) = mpsc::channel::<()>();
            stuck.spawn_fn(move || {
                let _ = until.recv();
            });
            settled(&well).await;
            assert!(pulse.beats(), "what was asked before it was stuck is answered");
            settled(&well).await;
            for _ in 0..3 {
                assert!(!pulse.beats());
            }
            drop(go_on);
            settled(&stuck).await;
            assert!(pulse.beats());
            settled(&well).await;
            stuck.stop();
            stuck.join().expect("it ends");
            assert!(!pulse.beats(), "a thread that has ended is no better than a stuck one");
        });
    }
}
