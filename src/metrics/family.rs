//! Metrics whose figures are looked up when somebody asks.

use orderer_actors::observe::{Definition, Kind};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A metric being filled with its series.
pub(super) struct Family {
    definition: &'static Definition,
    series: Vec<Metric>,
}

impl Family {
    pub(super) fn of(definition: &'static Definition) -> Self {
        Self { definition, series: Vec::new() }
    }

    /// Adds a series; its labels' values in the definition's order.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut pairs: Vec<LabelPair> = self.definition.labels.iter().zip(labels).map(pair).collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        let mut metric = Metric::from_label(pairs);
        if self.definition.kind == Kind::Counter {
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

    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.definition.prometheus_name());
        family.set_help(self.definition.help.to_owned());
        let counts = self.definition.kind == Kind::Counter;
        family.set_field_type(if counts { MetricType::COUNTER } else { MetricType::GAUGE });
        family.set_metric(self.series);
        family
    }
}
