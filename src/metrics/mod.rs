//! What is counted and what is looked up, for Prometheus to fetch or for StatsD to be sent.

mod family;
mod rates;
mod shown;
mod statsd;

use std::sync::Arc;

use orderer_actors::NodeContext;
use orderer_kafka::Traffic;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::admission::Admission;

pub use statsd::send;

/// The form that [`Metrics::text`] has.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// See the module's description.
pub struct Metrics {
    counted: Registry,
    process: Registry,
    shown: shown::Shown,
}

impl Metrics {
    /// Of a node, and of what goes to its brokers.
    pub fn new(context: &Arc<NodeContext>, brokers: &Arc<Traffic>, admission: Admission) -> Self {
        let process = Registry::new();
        // a registry of its own: an error would say that it has one already
        let _ = process.register(Box::new(ProcessCollector::for_self()));
        let shown = shown::Shown::new(Arc::clone(context), Arc::clone(brokers), admission);
        Self { counted: context.observed.registry().clone(), process, shown }
    }

    /// Everything as it is now, by name. With a thousand channels this takes some ten milliseconds.
    fn gather(&self) -> Vec<MetricFamily> {
        let mut all = self.counted.gather();
        all.extend(self.process.gather());
        all.extend(self.shown.look());
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}
