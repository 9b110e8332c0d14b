//! Metrics as they are scraped.

use std::collections::{BTreeMap, BTreeSet};

use orderer_actors::observe::{Definition, Kind, METRICS};

use super::http::Http;

/// Whether only channels that Kafka orders have it.
pub fn is_of_kafka(metric: &Definition) -> bool {
    metric.name[1] == "kafka"
}

/// Whether only nodes have it that take part in Raft.
pub fn is_of_raft(metric: &Definition) -> bool {
    metric.name[1] == "etcdraft" || metric.name[0] == "cluster"
}

/// Everything that one scrape gave.
#[derive(Debug)]
pub struct Scrape {
    /// Kinds, by name.
    pub kinds: BTreeMap<String, String>,
    /// Values, by name and labels as they are written.
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

    /// The value of a series, as it is written.
    pub fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// Names that some series has.
    pub fn names(&self) -> BTreeSet<&str> {
        self.kinds.keys().map(String::as_str).collect()
    }

    /// Each series is one of a metric that is known, with the kind, labels and buckets that are known of it.
    pub fn is_as_defined(&self) {
        for (name, kind) in &self.kinds {
            let known = METRICS.iter().find(|known| known.prometheus_name() == *name);
            let known = known.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(kind, known.kind_name(), "{name}");
            let suffix = if matches!(known.kind, Kind::Histogram(_)) { "_bucket" } else { "" };
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
            if let Kind::Histogram(buckets) = known.kind {
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
