//! Gathers messages that may wait for each other: those of all channels that share a connection leave in one write.
//!
//! Each stream has a task of its own, which a message wakes. A heartbeat is worth less than waking a thread, encrypting a
//! record and writing it to the socket, and every channel sends one at every tick. The streams that have only such
//! messages are therefore woken together, [`GATHERING_TIME`] after the first of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Time that a message waits at most for others. The timer's resolution of one millisecond comes on top.
const GATHERING_TIME: Duration = Duration::from_millis(1);

/// The streams of one connection that have messages for which they were not woken.
#[derive(Debug, Default)]
pub(super) struct Gathering(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    streams: Vec<Waker>,
    driver: Option<Waker>,
    /// Whether the connection is not driven any more.
    is_over: bool,
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the task of a stream together with those of the others that are added until then.
    pub(super) fn add(&self, stream: Waker) {
        let wake_now = {
            let mut state = self.state();
            if state.is_over {
                Some(stream)
            } else {
                state.streams.push(stream);
                state.driver.take()
            }
        };
        if let Some(waker) = wake_now {
            waker.wake();
        }
    }

    /// Drives a connection, and wakes the streams that are added.
    pub(super) fn drive<D: Future + Unpin>(self: &Arc<Self>, connection: D) -> GatheringDriver<D> {
        GatheringDriver { connection, gathering: Arc::clone(self), timer: None }
    }
}

/// Drives a connection. Resolves with it.
pub(super) struct GatheringDriver<D> {
    connection: D,
    gathering: Arc<Gathering>,
    /// When the streams are woken; `None` if none has been added.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<D> GatheringDriver<D> {
    /// Wakes the streams if it is time for it. Returns whether it has.
    fn wake_gathered(&mut self, cx: &mut Context<'_>) -> bool {
        let streams = {
            let mut state = self.gathering.state();
            if state.streams.is_empty() {
                state.driver = Some(cx.waker().clone());
                return false;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + GATHERING_TIME)));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            std::mem::take(&mut state.streams)
        };
        self.timer = None;
        streams.into_iter().for_each(Waker::wake);
        true
    }
}

impl<D: Future + Unpin> Future for GatheringDriver<D> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        if self.wake_gathered(cx) {
            // the connection is driven after the streams, so that it writes what all of them have
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx)
    }
}

impl<D> Drop for GatheringDriver<D> {
    fn drop(&mut self) {
        let mut state = self.gathering.state();
        state.is_over = true;
        let streams = std::mem::take(&mut state.streams);
        drop(state);
        streams.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// What happened, in its order.
    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<&'static str>>>);

    impl Events {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }

        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        /// Returns the waker of a stream.
        fn stream(&self, name: &'static str) -> Waker {
            Waker::from(Arc::new(Stream(self.clone(), name)))
        }
    }

    struct Stream(Events, &'static str);

    impl Wake for Stream {
        fn wake(self: Arc<Self>) {
            self.0.note(self.1);
        }
    }

    /// Drives a connection that never ends, in a task.
    fn driven(gathering: &Arc<Gathering>, events: &Events) -> tokio::task::JoinHandle<()> {
        let events = events.clone();
        let connection = std::future::poll_fn(move |_| {
            events.note("driven");
            Poll::<()>::Pending
        });
        tokio::spawn(gathering.drive(connection))
    }

    /// Lets every task run that is ready.
    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_woken_together_and_the_connection_is_driven_after_them() {
        let (gathering, events) = (Arc::<Gathering>::default(), Events::default());
        let _task = driven(&gathering, &events);
        settle().await;
        for _ in 0..3 {
            events.take();
            gathering.add(events.stream("first"));
            settle().await;
            gathering.add(events.stream("second"));
            settle().await;
            let before = events.take();
            assert!(!before.contains(&"first") && !before.contains(&"second"), "{before:?}");
            tokio::time::advance(2 * GATHERING_TIME).await;
            settle().await;
            assert_eq!(events.take(), ["first", "second", "driven"]);
            tokio::time::advance(Duration::from_secs(1)).await;
            settle().await;
            assert_eq!(events.take(), [""; 0], "an idle connection is not woken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_stream_waits_for_a_connection_that_is_not_driven() {
        let (gathering, events) = (Arc::<Gathering>::default(), Events::default());
        gathering.add(events.stream("early"));
        let task = driven(&gathering, &events);
        settle().await;
        tokio::time::advance(2 * GATHERING_TIME).await;
        settle().await;
        assert_eq!(events.take(), ["driven", "early", "driven"]);
        gathering.add(events.stream("last"));
        task.abort();
        settle().await;
        gathering.add(events.stream("late"));
        let woken: Vec<_> = events.take().into_iter().filter(|what| *what != "driven").collect();
        assert_eq!(woken, ["last", "late"]);
    }
}
