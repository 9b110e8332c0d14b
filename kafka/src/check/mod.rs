//! Checks whether a cluster is fit to order a channel: the facts, the findings, and their remedies.
//!
//! [`examine`] queries the cluster and writes nothing to it; [`evaluate`] only checks the facts.

mod cluster_facts;
mod rules;

pub use cluster_facts::{BrokerFacts, ClusterFacts, TopicFacts, examine};
pub use rules::evaluate;

use std::fmt;

/// The requirements of a channel on its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The channel, and so the topic.
    pub channel: String,
    /// Bytes of the largest record: the channel's absolute maximum, and some to spare. None if it is not known.
    pub largest_record: Option<u32>,
    /// Replication factor that the node would use for a topic that it creates.
    pub replication_factor: i16,
    /// The record that the node's chain needs next, if it has taken any.
    pub next_offset: Option<i64>,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, and may lead to a failure.
    Warning,
    /// The channel would not be ordered, or lose what was acknowledged.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub level: Severity,
    /// The finding, in one line.
    pub found: String,
    /// The remedy: a command to paste where there is one.
    pub fix: Option<String>,
}

impl Finding {
    fn fine(found: impl Into<String>) -> Self {
        Self { level: Severity::Fine, found: found.into(), fix: None }
    }

    fn warning(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Severity::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn error(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Severity::Error, found: found.into(), fix: Some(fix.into()) }
    }
}
