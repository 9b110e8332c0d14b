//! What is counted of gRPC streams.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus::{Histogram, IntCounter};

use super::Observed;
use super::families::Families;

/// As the reference writes it: with an underscore where the service's name has a dot.
const SERVICE: &str = "orderer_AtomicBroadcast";
/// By their number, in Go's words.
const CODES: [&str; 17] = [
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
const CANCELED: usize = 1;
const UNKNOWN: usize = 2;

/// What a client streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Envelopes.
    Broadcast,
    /// Requests for blocks.
    Deliver,
}

const METHODS: [&str; 2] = ["Broadcast", "Deliver"];

/// One method's figures, made when its first stream begins.
pub(super) struct MethodSeries {
    received: IntCounter,
    messages_received: IntCounter,
    messages_sent: IntCounter,
    ended: [OnceLock<(Histogram, IntCounter)>; CODES.len()],
}

impl MethodSeries {
    fn new(families: &Families, method: Method) -> Self {
        let labels = [SERVICE, METHODS[method as usize]];
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

/// One connection, from its beginning to its end.
#[derive(Debug)]
pub struct ConnectionObserved(IntCounter);

impl ConnectionObserved {
    pub(super) fn open(node: &Observed) -> Self {
        node.connections_opened.inc();
        Self(node.connections_closed.clone())
    }
}

impl Drop for ConnectionObserved {
    fn drop(&mut self) {
        self.0.inc();
    }
}

/// One stream, from its beginning to its end. Dropped without a word, its client has gone away.
pub struct StreamObserved {
    node: Arc<Observed>,
    method: Method,
    began: Instant,
    code: usize,
}

impl StreamObserved {
    pub(super) fn begin(node: &Arc<Observed>, method: Method) -> Self {
        let stream = Self { node: Arc::clone(node), method, began: Instant::now(), code: CANCELED };
        stream.series().received.inc();
        if method == Method::Deliver {
            node.streams_opened.inc();
        }
        stream
    }

    fn series(&self) -> &MethodSeries {
        let make = || MethodSeries::new(&self.node.families, self.method);
        self.node.methods[self.method as usize].get_or_init(make)
    }

    /// So many messages came.
    pub fn received(&self, messages: usize) {
        self.series().messages_received.inc_by(messages as u64);
    }

    /// So many messages were handed to the connection.
    pub fn sent(&self, messages: usize) {
        self.series().messages_sent.inc_by(messages as u64);
    }

    /// It ends with this gRPC code.
    pub fn ends(&mut self, code: i32) {
        self.code = usize::try_from(code).ok().filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN);
    }
}

impl Drop for StreamObserved {
    fn drop(&mut self) {
        let labels = [SERVICE, METHODS[self.method as usize], CODES[self.code]];
        let families = &self.node.families;
        let make =
            || (families.grpc_duration.with_label_values(&labels), families.grpc_completed.with_label_values(&labels));
        let (duration, completed) = self.series().ended[self.code].get_or_init(make);
        duration.observe(self.began.elapsed().as_secs_f64());
        completed.inc();
        if self.method == Method::Deliver {
            self.node.streams_closed.inc();
        }
    }
}
