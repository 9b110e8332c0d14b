//! Metrics as Prometheus scrapes them.

use std::collections::{BTreeMap, BTreeSet};

use orderer_actors::observer::{METRICS, MetricDefinition, MetricKind};

use super::http::Http;

/// Returns whether only channels that are ordered by Kafka have the metric.
pub fn is_of_kafka(metric: &MetricDefinition) -> bool {
    metric.name[1] == "kafka"
}

/// Returns whether only nodes that run Raft have the metric.
pub fn is_of_raft(metric: &MetricDefinition) -> bool {
    metric.name[1] == "etcdraft" || metric.name[0] == "cluster"
}

/// The result of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// Metric types, by metric name.
    pub kinds: BTreeMap<String, String>,
    /// Values, by name and labels as they are written in the scrape.
    pub series: BTreeMap<String, f64>,
}

impl Scrape {
    pub async fn of(operations: &Http) -> Self {
        let answer = operations.get("/metrics").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Self::read(std::str::from_utf8(&answer.body).unwrap())
    }

    pub fn read(text: &str) -> Self {
        let (mut kinds, mut series) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (key, value) = line.rsplit_once(' ').unwrap();
                assert!(series.insert(key.to_owned(), value.parse().unwrap()).is_none(), "{key} twice");
            }
        }
        Self { kinds, series }
    }

    /// Returns the value of a series, which is named as in the scrape.
    pub fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// Returns the names of all metrics.
    pub fn names(&self) -> BTreeSet<&str> {
        self.kinds.keys().map(String::as_str).collect()
    }

    /// Asserts that each series belongs to a defined metric and has its type, labels and buckets.
    pub fn is_as_defined(&self) {
        for (name, kind) in &self.kinds {
            let known = METRICS.iter().find(|known| known.prometheus_name() == *name);
            let known = known.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(kind, known.kind_name(), "{name}");
            let suffix = if matches!(known.kind, MetricKind::Histogram(_)) { "_bucket" } else { "" };
            let full = format!("{name}{suffix}");
            let of_it = self.series.keys().filter(|key| key.split('{').next() == Some(&full));
            let mut bounds: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for key in of_it {
                let mut labels = labels_of(key);
                let bound = labels.remove("le");
                let names: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
                assert_eq!(names, known.labels.iter().copied().collect(), "{key}");
                bounds.entry(format!("{labels:?}")).or_default().extend(bound);
            }
            assert!(!bounds.is_empty(), "{name} has no series");
            if let MetricKind::Histogram(buckets) = known.kind {
                for found in bounds.values() {
                    let found: BTreeSet<String> = found.iter().cloned().collect();
                    let wanted = buckets.iter().map(ToString::to_string).chain(["+Inf".to_owned()]).collect();
                    assert_eq!(found, wanted, "{name}");
                }
            }
        }
    }
}

fn labels_of(series: &str) -> BTreeMap<String, String> {
    let Some((_, rest)) = series.split_once('{') else { return BTreeMap::new() };
    let pairs = rest.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once("=\"").unwrap())
        .map(|(k, v)| (k.to_owned(), v.trim_end_matches('"').to_owned()))
        .collect()
}
