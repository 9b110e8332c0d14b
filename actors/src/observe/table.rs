//! Every metric there is. Those without the prefix `orderer` are the reference's, by name, kind, labels and buckets.

use super::definition::{Definition, Kind};

/// The buckets that the reference uses where it names none.
const USUAL: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From ten microseconds on: what a stage of an envelope's way takes.
const FINE: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0,
];
/// Envelopes in a block.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

const fn counter(name: [&'static str; 3], labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, kind: Kind::Counter, labels, help }
}

const fn histogram(
    name: [&'static str; 3],
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Definition {
    Definition { name, kind: Kind::Histogram(buckets), labels, help }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $definition:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: Definition = $definition;)*
        /// All of them.
        pub const METRICS: &[Definition] = &[$($name),*];
    };
}

const ENVELOPE: &[&str] = &["channel", "type", "status"];
const CHANNEL: &[&str] = &["channel"];
const METHOD: &[&str] = &["service", "method"];
const METHOD_CODE: &[&str] = &["service", "method", "code"];
const REQUEST: &[&str] = &["channel", "filtered", "data_type"];

metrics! {
    VALIDATE = histogram(["broadcast", "", "validate_duration"], ENVELOPE, USUAL,
        "Seconds that judging an envelope took, signatures included.");
    ENQUEUE = histogram(["broadcast", "", "enqueue_duration"], ENVELOPE, USUAL,
        "Seconds from the end of judging an envelope until it had its place in the order.");
    PROCESSED = counter(["broadcast", "", "processed_count"], ENVELOPE,
        "Envelopes that were answered.");
    FILL = histogram(["blockcutter", "", "block_fill_duration"], CHANNEL, USUAL,
        "Seconds from a block's first envelope until the block was cut.");
    COMMIT = histogram(["ledger", "", "blockstorage_commit_time"], CHANNEL, &[0.005, 0.01, 0.015, 0.05, 0.1, 1.0, 10.0],
        "Seconds that making a block durable took.");
    STREAMS_OPENED = counter(["deliver", "", "streams_opened"], &[],
        "Deliver streams that were opened.");
    STREAMS_CLOSED = counter(["deliver", "", "streams_closed"], &[],
        "Deliver streams that have ended.");
    REQUESTS_RECEIVED = counter(["deliver", "", "requests_received"], REQUEST,
        "Requests for blocks of a channel that exists.");
    REQUESTS_COMPLETED = counter(["deliver", "", "requests_completed"], &["channel", "filtered", "data_type", "success"],
        "Requests for blocks that have ended.");
    BLOCKS_SENT = counter(["deliver", "", "blocks_sent"], REQUEST,
        "Blocks handed to subscribers' connections.");
    GRPC_STREAM_DURATION = histogram(["grpc", "server", "stream_request_duration"], METHOD_CODE, USUAL,
        "Seconds that a stream lasted.");
    GRPC_STREAMS_RECEIVED = counter(["grpc", "server", "stream_requests_received"], METHOD,
        "Streams that clients began.");
    GRPC_STREAMS_COMPLETED = counter(["grpc", "server", "stream_requests_completed"], METHOD_CODE,
        "Streams that have ended.");
    GRPC_MESSAGES_RECEIVED = counter(["grpc", "server", "stream_messages_received"], METHOD,
        "Messages received on streams.");
    GRPC_MESSAGES_SENT = counter(["grpc", "server", "stream_messages_sent"], METHOD,
        "Messages sent on streams.");
    STAGE = histogram(["orderer", "", "stage_duration"], &["channel", "stage"], FINE,
        "Seconds that a stage took: judge, gate (only where it had to be waited for), order (until acknowledged), \
         produce (a batch to Kafka), assemble (a block), commit.");
    CUT = counter(["orderer", "", "blocks_cut"], &["channel", "reason"],
        "Blocks that were cut, by what filled them: count, bytes, timer, config.");
    BLOCK_ENVELOPES = histogram(["orderer", "", "block_envelopes"], CHANNEL, COUNTS,
        "Envelopes in a block.");
}
