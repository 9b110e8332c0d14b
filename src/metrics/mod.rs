//! Collects metrics for Prometheus to fetch, or to send to StatsD.

mod cluster;
mod collector;
mod family;
mod moving_rates;
mod statsd;

use std::sync::Arc;

use orderer_actors::NodeContext;
use orderer_kafka::Traffic;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::admission::Admission;

pub use cluster::ClusterSides;
pub use statsd::send;

/// Content type of [`Metrics::text`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a node: those counted as events happen, and those read on collection.
pub struct Metrics {
    counted: Registry,
    process: Registry,
    shown: collector::PullCollector,
}

impl Metrics {
    /// Collects metrics of a node, and of its traffic with brokers and other orderers.
    pub fn new(
        context: &Arc<NodeContext>,
        brokers: &Arc<Traffic>,
        cluster: Option<ClusterSides>,
        admission: Admission,
    ) -> Self {
        let process = Registry::new();
        // a registry of its own: an error would say that it has one already
        let _ = process.register(Box::new(ProcessCollector::for_self()));
        let shown = collector::PullCollector::new(Arc::clone(context), Arc::clone(brokers), cluster, admission);
        Self { counted: context.observer.registry().clone(), process, shown }
    }

    /// Returns the current values of all metrics, by name. With a thousand channels this takes some ten milliseconds.
    fn gather(&self) -> Vec<MetricFamily> {
        let mut all = self.counted.gather();
        all.extend(self.process.gather());
        all.extend(self.shown.collect_all());
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Returns the metrics in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}
