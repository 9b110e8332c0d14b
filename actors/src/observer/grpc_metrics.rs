//! Counters of gRPC streams.

use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;

use super::NodeObserver;
use super::method::{CANCELED, CODES, METHODS, Method, MethodSeries, UNKNOWN};

/// One connection, from its beginning to its end.
#[derive(Debug)]
pub struct ConnectionObserver(IntCounter);

impl ConnectionObserver {
    fn open(node: &NodeObserver) -> Self {
        node.connections_opened.inc();
        Self(node.connections_closed.clone())
    }
}

impl Drop for ConnectionObserver {
    fn drop(&mut self) {
        self.0.inc();
    }
}

/// One stream, from its beginning to its end. If it is dropped without a code, its client has gone away.
pub struct StreamObserver {
    node: Arc<NodeObserver>,
    method: Method,
    began: Instant,
    code: usize,
}

impl StreamObserver {
    fn begin(node: &Arc<NodeObserver>, method: Method) -> Self {
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

    /// Counts received messages.
    pub fn received(&self, messages: usize) {
        self.series().messages_received.inc_by(messages as u64);
    }

    /// Counts messages that were handed to the connection.
    pub fn sent(&self, messages: usize) {
        self.series().messages_sent.inc_by(messages as u64);
    }

    /// Sets the gRPC code with which the stream ends.
    pub fn ends(&mut self, code: i32) {
        self.code = usize::try_from(code).ok().filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN);
    }
}

impl Drop for StreamObserver {
    fn drop(&mut self) {
        let [service, method] = METHODS[self.method as usize];
        let labels = [service, method, CODES[self.code]];
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

impl NodeObserver {
    /// Records that a stream begins; it ends with the returned value.
    pub fn stream(self: &Arc<Self>, method: Method) -> StreamObserver {
        StreamObserver::begin(self, method)
    }

    /// Records that a client has connected; the connection ends with the returned value.
    pub fn connection(self: &Arc<Self>) -> ConnectionObserver {
        ConnectionObserver::open(self)
    }
}
