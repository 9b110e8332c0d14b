//! A metric's definition: its name, kind, labels and help text.

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, by the upper bounds of its buckets; one for all above is added.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricDefinition {
    /// Parts of its name: Prometheus joins them by underscores, StatsD by dots. Parts may be empty.
    pub name: [&'static str; 3],
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels, in the order in which StatsD appends their values to the name.
    pub labels: &'static [&'static str],
    /// Its help text, of one line.
    pub help: &'static str,
}

impl MetricDefinition {
    fn joined(&self, separator: &str) -> String {
        let parts: Vec<&str> = self.name.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(separator)
    }

    /// Returns the name in Prometheus.
    pub fn prometheus_name(&self) -> String {
        self.joined("_")
    }

    /// Returns the name in StatsD, without labels and prefix.
    pub fn statsd_name(&self) -> String {
        self.joined(".")
    }

    /// The kind's word.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        }
    }

    fn opts(&self) -> Opts {
        Opts::new(self.prometheus_name(), self.help)
    }

    /// Makes it known as a counter.
    pub(crate) fn counters(&self, registry: &Registry) -> IntCounterVec {
        register(registry, IntCounterVec::new(self.opts(), self.labels))
    }

    /// Makes it known as a gauge.
    pub(crate) fn gauges(&self, registry: &Registry) -> GaugeVec {
        register(registry, GaugeVec::new(self.opts(), self.labels))
    }

    /// Makes it known as a histogram.
    pub(crate) fn histograms(&self, registry: &Registry) -> HistogramVec {
        let MetricKind::Histogram(buckets) = self.kind else { panic!("{} is no histogram", self.prometheus_name()) };
        let opts = HistogramOpts::new(self.prometheus_name(), self.help).buckets(buckets.to_vec());
        register(registry, HistogramVec::new(opts, self.labels))
    }
}

/// Definitions are constants, so what can go wrong here is a programming error that every start and every test finds.
fn register<C: Collector + Clone + 'static>(registry: &Registry, family: prometheus::Result<C>) -> C {
    let family = family.unwrap_or_else(|error| panic!("a metric is not well defined: {error}"));
    if let Err(error) = registry.register(Box::new(family.clone())) {
        panic!("a metric is not well defined: {error}");
    }
    family
}
