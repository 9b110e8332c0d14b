//! One request for blocks, as it is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use orderer_core::types::BlockNumber;

use super::channel::ChannelObserver;

/// The orderer sends whole blocks, to each client that may read them.
const FILTERED: &str = "false";
const DATA_TYPE: &str = "block";

/// One request for blocks, from its reading to its end.
pub struct Subscription {
    channel: Arc<ChannelObserver>,
    succeeded: bool,
}

impl Subscription {
    fn new(channel: &Arc<ChannelObserver>) -> Self {
        let (series, families) = (channel.series(), &channel.node().families);
        let make = || series.make(&families.requests_received, &[series.channel(), FILTERED, DATA_TYPE]);
        channel.deliver().received.get_or_init(make).inc();
        channel.deliver().now.fetch_add(1, Ordering::Relaxed);
        Self { channel: Arc::clone(channel), succeeded: false }
    }

    /// A block was handed to the connection.
    pub fn sent(&mut self, _number: BlockNumber, _bytes: usize) {
        let (series, families) = (self.channel.series(), &self.channel.node().families);
        let make = || series.make(&families.blocks_sent, &[series.channel(), FILTERED, DATA_TYPE]);
        self.channel.deliver().sent.get_or_init(make).inc();
    }

    /// Records that all requested blocks were sent.
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (deliver, series) = (self.channel.deliver(), self.channel.series());
        let (cell, success) = if self.succeeded { (&deliver.succeeded, "true") } else { (&deliver.failed, "false") };
        let labels = [series.channel(), FILTERED, DATA_TYPE, success];
        let make = || series.make(&self.channel.node().families.requests_completed, &labels);
        cell.get_or_init(make).inc();
        deliver.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ChannelObserver {
    /// Records that a request for blocks begins; it ends with the returned value.
    pub fn subscribe(self: &Arc<Self>) -> Subscription {
        Subscription::new(self)
    }
}
