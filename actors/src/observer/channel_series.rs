//! The series that carry one channel's name: made when first needed, gone with the channel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus::core::{Metric, MetricVec, MetricVecBuilder};

type RemoveFn = Box<dyn FnOnce() + Send>;

/// The series of one channel. Locked only to make one and to remove all.
pub(super) struct ChannelSeries {
    channel: String,
    gone: AtomicBool,
    removals: Mutex<Vec<RemoveFn>>,
}

impl ChannelSeries {
    pub(super) fn of(channel: &str) -> Self {
        Self { channel: channel.to_owned(), gone: AtomicBool::new(false), removals: Mutex::default() }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Returns the series with these labels. After the channel has gone it is one that is not exposed.
    pub(super) fn make<B>(&self, family: &MetricVec<B>, labels: &[&str]) -> B::M
    where
        B: MetricVecBuilder + 'static,
        B::M: Metric,
    {
        let made = family.with_label_values(labels);
        let (of_removal, owned) = (family.clone(), labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        let removal = Box::new(move || drop(of_removal.remove_label_values(&owned)));
        self.removals.lock().unwrap_or_else(PoisonError::into_inner).push(removal);
        if self.gone.load(Ordering::SeqCst) {
            self.remove_all();
        }
        made
    }

    /// The channel is no more, and neither are its series.
    pub(super) fn forget(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.remove_all();
    }

    fn remove_all(&self) {
        let removals = std::mem::take(&mut *self.removals.lock().unwrap_or_else(PoisonError::into_inner));
        for remove in removals {
            remove();
        }
    }
}
