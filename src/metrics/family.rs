//! Metrics whose values are read when they are collected.

use orderer_actors::observer::{MetricDefinition, MetricKind};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// A metric being filled with its series.
pub(super) struct Family {
    definition: &'static MetricDefinition,
    series: Vec<Metric>,
}

impl Family {
    pub(super) fn of(definition: &'static MetricDefinition) -> Self {
        Self { definition, series: Vec::new() }
    }

    /// Adds a series; the values of its labels in the definition's order.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        let mut metric = Metric::from_label(self.pairs(labels));
        if self.definition.kind == MetricKind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.series.push(metric);
    }

    /// Adds a histogram: cumulative counts by upper bound, the total count, and the sum.
    pub(super) fn add_distribution(&mut self, labels: &[&str], within: &[(f64, u64)], count: u64, sum: f64) {
        let bucket = |(bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(within.iter().map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = Metric::from_label(self.pairs(labels));
        metric.set_histogram(histogram);
        self.series.push(metric);
    }

    /// Pairs a series' label names with values given in the definition's order.
    fn pairs(&self, labels: &[&str]) -> Vec<LabelPair> {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut pairs: Vec<LabelPair> = self.definition.labels.iter().zip(labels).map(pair).collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        pairs
    }

    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.definition.prometheus_name());
        family.set_help(self.definition.help.to_owned());
        family.set_field_type(match self.definition.kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
            MetricKind::Histogram(_) => MetricType::HISTOGRAM,
        });
        family.set_metric(self.series);
        family
    }
}
