//! The streaming methods, and what is counted of each.

use std::sync::OnceLock;

use prometheus::{Histogram, IntCounter};

use super::metric_families::MetricFamilies;

/// By their number, in Go's words.
pub(super) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
pub(super) const CANCELED: usize = 1;
pub(super) const UNKNOWN: usize = 2;

/// The kind of stream that a client opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Envelopes.
    Broadcast,
    /// Requests for blocks.
    Deliver,
    /// Messages of another orderer.
    Step,
}

/// Service and name of each. As Fabric writes it: with an underscore where the service's name has a dot.
pub(super) const METHODS: [[&str; 2]; 3] =
    [["orderer_AtomicBroadcast", "Broadcast"], ["orderer_AtomicBroadcast", "Deliver"], ["orderer_Cluster", "Step"]];

/// One method's figures, made when its first stream begins.
pub(super) struct MethodSeries {
    pub(super) received: IntCounter,
    pub(super) messages_received: IntCounter,
    pub(super) messages_sent: IntCounter,
    pub(super) ended: [OnceLock<(Histogram, IntCounter)>; CODES.len()],
}

impl MethodSeries {
    pub(super) fn new(families: &MetricFamilies, method: Method) -> Self {
        let labels = METHODS[method as usize];
        Self {
            received: families.grpc_received.with_label_values(&labels),
            messages_received: families.grpc_messages_received.with_label_values(&labels),
            messages_sent: families.grpc_messages_sent.with_label_values(&labels),
            ended: Default::default(),
        }
    }
}

/// A code's name.
pub(super) fn code_name(code: i32) -> &'static str {
    usize::try_from(code).ok().and_then(|code| CODES.get(code)).unwrap_or(&CODES[UNKNOWN])
}
