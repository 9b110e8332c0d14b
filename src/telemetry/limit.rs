//! Limits the log lines that a stranger can cause: a client that connects and fails causes one each time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use orderer_core::rate_limit::{GcraMeter, Rate};
use tokio_util::sync::CancellationToken;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Targets whose warnings any client that reaches a port can cause.
const BY_STRANGERS: [&str; 4] =
    ["orderer.connection", "orderer.common.cluster", "orderer.common.broadcast", "orderer.common.deliver"];
/// Lines that one place in the code may log, at once and in each second.
const LINES_PER_SECOND: u32 = 10;
/// Interval between reports of lines that were left out.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Lines that were left out since the last report, by their target.
static LEFT_OUT: Mutex<[u64; BY_STRANGERS.len()]> = Mutex::new([0; BY_STRANGERS.len()]);

/// Leaves out warnings and errors of [`BY_STRANGERS`] that come faster than [`LINES_PER_SECOND`]. Lines of these
/// targets below that level come from the node itself, or are written only where an operator asked for them.
#[derive(Debug)]
pub(super) struct LineLimit {
    began: Instant,
    meters: Mutex<HashMap<Identifier, GcraMeter>>,
}

impl Default for LineLimit {
    fn default() -> Self {
        Self { began: Instant::now(), meters: Mutex::default() }
    }
}

impl LineLimit {
    /// Returns whether a line may be written at this time since the limit was created.
    fn may_write(&self, metadata: &Metadata<'_>, now: Duration) -> bool {
        let Some(target) = BY_STRANGERS.iter().position(|target| *target == metadata.target()) else { return true };
        let limited = *metadata.level() <= Level::WARN;
        let Some(rate) = Rate::share(LINES_PER_SECOND, 1).filter(|_| limited) else { return true };
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let may = meters.entry(metadata.callsite()).or_default().try_acquire(rate, now).is_ok();
        if !may {
            LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner)[target] += 1;
        }
        may
    }
}

impl<S> Filter<S> for LineLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.may_write(event.metadata(), self.began.elapsed())
    }
}

/// Logs every ten seconds how many lines were left out, if any were, until `stopping`.
pub async fn report_left_out(stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(REPORT_EVERY) => {}
            () = stopping.cancelled() => return,
        }
        let left_out = std::mem::take(&mut *LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner));
        for (of, lines) in BY_STRANGERS.into_iter().zip(left_out).filter(|(_, lines)| *lines > 0) {
            tracing::warn!(target: "orderer.node", of, lines, seconds = REPORT_EVERY.as_secs(),
                "log lines were dropped: more than {LINES_PER_SECOND} a second were written");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// Lines that got through.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            self.0.lock().unwrap().push(format!("{} {}", metadata.level(), metadata.target()));
        }
    }

    #[test]
    fn lines_of_strangers_are_limited_and_no_others() {
        let written = Written::default();
        let subscriber = Registry::default().with(written.clone().with_filter(LineLimit::default()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..200 {
                tracing::warn!(target: "orderer.connection", "limited");
                tracing::info!(target: "orderer.connection", "requested by the node");
                tracing::info!(target: "orderer.audit", "fault injected by an operator");
            }
        });
        let lines = written.0.lock().unwrap();
        let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
        // as many as may come at once, and what a slow machine adds
        assert!((10..150).contains(&count("WARN orderer.connection")), "{}", count("WARN orderer.connection"));
        assert_eq!((count("INFO orderer.connection"), count("INFO orderer.audit")), (200, 200));
    }
}
