//! The node's recent history, for the dashboard: rates, latencies and rejections of the node and of each channel. A
//! task samples the totals that the ordering path counts; nothing is recorded per envelope.

mod process;
mod recorder;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orderer_actors::NodeContext;
use orderer_actors::status::now_ms;
use orderer_core::types::ChannelId;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use self::process::ProcessUsage;
use self::recorder::{NodeReading, Recorder, STEP};
use crate::disk_monitor::LedgerDisk;

pub(crate) use view::{ChannelHistoryView, NodeHistoryView};

/// The history of the last 15 minutes.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Recorder>>);

impl History {
    /// Samples the node at each step, until `stopping`.
    pub(crate) async fn record(self, context: Arc<NodeContext>, disk: LedgerDisk, stopping: CancellationToken) {
        let mut began = Instant::now();
        let mut ticks = interval_at(began + STEP, STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.lock().begin(ProcessUsage::read().cpu_ms);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            let took = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
            began = Instant::now();
            let (history, context, disk) = (self.clone(), Arc::clone(&context), disk.clone());
            // reads files, and the totals of every channel: not on a thread that serves
            let sampled = tokio::task::spawn_blocking(move || history.sample(&context, &disk, took));
            if sampled.await.is_err() {
                return;
            }
        }
    }

    fn sample(&self, context: &NodeContext, disk: &LedgerDisk, took_ms: u32) {
        let ProcessUsage { cpu_ms, rss_bytes } = ProcessUsage::read();
        let reading = NodeReading {
            end_ms: now_ms(),
            took_ms,
            rejected: context.observer.refusals().total(),
            cpu_ms,
            rss_bytes,
            disk_free_bytes: disk.read_space().ok().map(|(space, _)| space.free),
            streams: u32::try_from(context.observer.streams().count()).unwrap_or(u32::MAX),
        };
        let channels = context.directory.open_channels();
        self.lock().sample(reading, channels.iter().map(|channel| (channel.id(), channel.observer().totals())));
    }

    /// Returns the node's history and a summary of each channel with traffic. Sums the steps of every channel: call it
    /// on a blocking thread.
    pub(crate) fn node(&self, disk: &LedgerDisk) -> NodeHistoryView {
        let space = disk.read_space().ok();
        NodeHistoryView::of(&self.lock(), space)
    }

    /// Returns a channel's history.
    pub(crate) fn channel(&self, id: &ChannelId) -> ChannelHistoryView {
        ChannelHistoryView::of(&self.lock(), id)
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
