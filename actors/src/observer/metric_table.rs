//! Every metric there is. Those without the prefix `orderer` are Fabric's, by name, kind, labels and buckets.

use super::metric_definition::{MetricDefinition, MetricKind};

/// The buckets that Fabric uses where it names none.
const USUAL: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets from ten microseconds on, for the stages of an envelope's way.
const FINE: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0,
];
/// Envelopes in a block.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

const fn counter(name: [&'static str; 3], labels: &'static [&'static str], help: &'static str) -> MetricDefinition {
    MetricDefinition { name, kind: MetricKind::Counter, labels, help }
}

const fn gauge(name: [&'static str; 3], labels: &'static [&'static str], help: &'static str) -> MetricDefinition {
    MetricDefinition { name, kind: MetricKind::Gauge, labels, help }
}

const fn histogram(
    name: [&'static str; 3],
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> MetricDefinition {
    MetricDefinition { name, kind: MetricKind::Histogram(buckets), labels, help }
}

macro_rules! metrics {
    ($($name:ident = $definition:expr;)*) => {
        $(
            #[allow(missing_docs, reason = "its help says it")]
            pub const $name: MetricDefinition = $definition;
        )*
        /// All of them.
        pub const METRICS: &[MetricDefinition] = &[$($name),*];
    };
}

const ENVELOPE: &[&str] = &["channel", "type", "status"];
const CHANNEL: &[&str] = &["channel"];
const METHOD: &[&str] = &["service", "method"];
const METHOD_CODE: &[&str] = &["service", "method", "code"];
const ACTOR: &[&str] = &["channel", "actor"];
const BROKER: &[&str] = &["broker_id"];
const TOPIC: &[&str] = &["topic"];
const HOST: &[&str] = &["host", "channel"];
const QUEUE: &[&str] = &["host", "msg_type", "channel"];
const LEVEL: &[&str] = &["level"];
const TOKEN: &[&str] = &["token"];
const REQUEST: &[&str] = &["channel", "filtered", "data_type"];

metrics! {
    VALIDATE = histogram(["broadcast", "", "validate_duration"], ENVELOPE, USUAL,
        "Duration of the validation of an envelope in seconds, signatures included.");
    ENQUEUE = histogram(["broadcast", "", "enqueue_duration"], ENVELOPE, USUAL,
        "Seconds from the end of the validation of an envelope until it was acknowledged or rejected by the chain.");
    PROCESSED = counter(["broadcast", "", "processed_count"], ENVELOPE,
        "Envelopes that received a response.");
    FILL = histogram(["blockcutter", "", "block_fill_duration"], CHANNEL, USUAL,
        "Seconds from a block's first envelope until the block was cut.");
    COMMIT = histogram(["ledger", "", "blockstorage_commit_time"], CHANNEL, &[0.005, 0.01, 0.015, 0.05, 0.1, 1.0, 10.0],
        "Duration of a durable write of a block, in seconds.");
    STREAMS_OPENED = counter(["deliver", "", "streams_opened"], &[],
        "Deliver streams that were opened.");
    STREAMS_CLOSED = counter(["deliver", "", "streams_closed"], &[],
        "Deliver streams that have ended.");
    REQUESTS_RECEIVED = counter(["deliver", "", "requests_received"], REQUEST,
        "Requests for blocks of a channel that exists.");
    REQUESTS_COMPLETED = counter(["deliver", "", "requests_completed"], &["channel", "filtered", "data_type", "success"],
        "Requests for blocks that have ended.");
    BLOCKS_SENT = counter(["deliver", "", "blocks_sent"], REQUEST,
        "Blocks passed to the connections of subscribers.");
    GRPC_STREAM_DURATION = histogram(["grpc", "server", "stream_request_duration"], METHOD_CODE, USUAL,
        "Duration of a stream in seconds.");
    GRPC_STREAMS_RECEIVED = counter(["grpc", "server", "stream_requests_received"], METHOD,
        "Streams that clients opened.");
    GRPC_STREAMS_COMPLETED = counter(["grpc", "server", "stream_requests_completed"], METHOD_CODE,
        "Streams that have ended.");
    GRPC_MESSAGES_RECEIVED = counter(["grpc", "server", "stream_messages_received"], METHOD,
        "Messages received on streams.");
    GRPC_MESSAGES_SENT = counter(["grpc", "server", "stream_messages_sent"], METHOD,
        "Messages sent on streams.");
    STAGE = histogram(["orderer", "", "stage_duration"], &["channel", "stage"], FINE,
        "Duration of a stage in seconds: judge (validation), gate (only if the envelope had to wait), order (until acknowledged), \
         produce (a batch to Kafka), assemble (a block), commit.");
    CUT = counter(["orderer", "", "blocks_cut"], &["channel", "reason"],
        "Blocks that were cut, by reason: count, bytes, timer, config; agreed for channels that Raft orders, where only the leader knows the reason.");
    BLOCK_ENVELOPES = histogram(["orderer", "", "block_envelopes"], CHANNEL, COUNTS,
        "Envelopes in a block.");
    CONNECTIONS_OPENED = counter(["grpc", "comm", "conn_opened"], &[],
        "gRPC connections that were opened.");
    CONNECTIONS_CLOSED = counter(["grpc", "comm", "conn_closed"], &[],
        "gRPC connections that have ended.");
    GRPC_UNARY_DURATION = histogram(["grpc", "server", "unary_request_duration"], METHOD_CODE, USUAL,
        "Duration of a unary call in seconds.");
    GRPC_UNARY_RECEIVED = counter(["grpc", "server", "unary_requests_received"], METHOD,
        "Unary calls that were received.");
    GRPC_UNARY_COMPLETED = counter(["grpc", "server", "unary_requests_completed"], METHOD_CODE,
        "Unary calls that received a response.");
    HEIGHT = gauge(["ledger", "", "blockchain_height"], CHANNEL,
        "Blocks in the chain.");
    PARTICIPATION_STATUS = gauge(["participation", "", "status"], CHANNEL,
        "Participation of the node in the channel: 0 inactive, 1 active, 2 onboarding, 3 failed.");
    PARTICIPATION_RELATION = gauge(["participation", "", "consensus_relation"], CHANNEL,
        "Relation of the node to the channel: 0 other, 1 consenter, 2 follower, 3 config-tracker.");
    VERSION = gauge(["", "", "fabric_version"], &["version"],
        "1, with the program's version as label.");
    LOG_CHECKED = counter(["logging", "", "entries_checked"], LEVEL,
        "Log lines of a level that is logged.");
    LOG_WRITTEN = counter(["logging", "", "entries_written"], LEVEL,
        "Log lines that were written.");
    KAFKA_PERSISTED = gauge(["consensus", "kafka", "last_offset_persisted"], CHANNEL,
        "Offset of the last record that is in a block.");
    KAFKA_IN_RATE = gauge(["consensus", "kafka", "incoming_byte_rate"], BROKER,
        "Bytes per second received from a broker, averaged over a minute.");
    KAFKA_OUT_RATE = gauge(["consensus", "kafka", "outgoing_byte_rate"], BROKER,
        "Bytes per second sent to a broker, averaged over a minute.");
    KAFKA_REQUEST_RATE = gauge(["consensus", "kafka", "request_rate"], BROKER,
        "Requests per second to a broker, averaged over a minute.");
    KAFKA_REQUEST_SIZE = gauge(["consensus", "kafka", "request_size"], BROKER,
        "Mean size of a request to a broker in bytes.");
    KAFKA_REQUEST_LATENCY = gauge(["consensus", "kafka", "request_latency"], BROKER,
        "Mean response time of a broker in milliseconds; a poll without new records takes a second.");
    KAFKA_RESPONSE_RATE = gauge(["consensus", "kafka", "response_rate"], BROKER,
        "Responses per second from a broker, averaged over a minute.");
    KAFKA_RESPONSE_SIZE = gauge(["consensus", "kafka", "response_size"], BROKER,
        "Mean size of a broker's response in bytes.");
    KAFKA_BATCH_SIZE = gauge(["consensus", "kafka", "batch_size"], TOPIC,
        "Mean size of a batch produced to a topic in bytes.");
    KAFKA_SEND_RATE = gauge(["consensus", "kafka", "record_send_rate"], TOPIC,
        "Records per second produced to a topic, averaged over a minute.");
    KAFKA_RECORDS = gauge(["consensus", "kafka", "records_per_request"], TOPIC,
        "Mean records in a request to a topic.");
    KAFKA_COMPRESSION = gauge(["consensus", "kafka", "compression_ratio"], TOPIC,
        "Mean size of compressed batches in percent of their original size; 100 means no compression.");
    RAFT_SIZE = gauge(["consensus", "etcdraft", "cluster_size"], CHANNEL,
        "Consenters of the channel.");
    RAFT_LEADER = gauge(["consensus", "etcdraft", "is_leader"], CHANNEL,
        "1 if this node leads the channel, 0 if it does not.");
    RAFT_ACTIVE = gauge(["consensus", "etcdraft", "active_nodes"], CHANNEL,
        "Consenters that the leader receives messages from; 0 while there is no leader.");
    RAFT_COMMITTED = gauge(["consensus", "etcdraft", "committed_block_number"], CHANNEL,
        "The newest block that was committed.");
    RAFT_SNAPSHOT = gauge(["consensus", "etcdraft", "snapshot_block_number"], CHANNEL,
        "The block of the newest snapshot.");
    RAFT_LEADER_CHANGES = counter(["consensus", "etcdraft", "leader_changes"], CHANNEL,
        "Number of changes of the leader, including its loss.");
    RAFT_FAILURES = counter(["consensus", "etcdraft", "proposal_failures"], CHANNEL,
        "Envelopes that could neither be proposed nor forwarded to the leader.");
    RAFT_PERSIST = histogram(["consensus", "etcdraft", "data_persist_duration"], CHANNEL, USUAL,
        "Duration of durable writes of Raft entries and state, in seconds.");
    RAFT_NORMAL = counter(["consensus", "etcdraft", "normal_proposals_received"], CHANNEL,
        "Envelopes submitted for ordering.");
    RAFT_CONFIG = counter(["consensus", "etcdraft", "config_proposals_received"], CHANNEL,
        "Config messages submitted for ordering.");
    CLUSTER_QUEUE_CAPACITY = gauge(["cluster", "comm", "egress_queue_capacity"], QUEUE,
        "Maximum number of messages queued for a consenter.");
    CLUSTER_QUEUE_LENGTH = gauge(["cluster", "comm", "egress_queue_length"], QUEUE,
        "Messages queued for a consenter.");
    CLUSTER_WORKERS = gauge(["cluster", "comm", "egress_queue_workers"], CHANNEL,
        "Active queues to other consenters.");
    CLUSTER_STREAMS = gauge(["cluster", "comm", "egress_stream_count"], CHANNEL,
        "Open streams to other consenters.");
    CLUSTER_CONNECTIONS = gauge(["cluster", "comm", "egress_tls_connection_count"], &[],
        "Open TLS connections to other orderers.");
    CLUSTER_INGRESS = gauge(["cluster", "comm", "ingress_stream_count"], &[],
        "Open streams from other orderers.");
    CLUSTER_DROPPED = counter(["cluster", "comm", "msg_dropped_count"], HOST,
        "Messages to a consenter that were dropped because there was no connection or the queue was full.");
    CLUSTER_SEND_TIME = histogram(["cluster", "comm", "msg_send_time"], HOST, USUAL,
        "Seconds that a message was queued before it was passed to the connection.");
    STATE = gauge(["orderer", "", "channel_state"], &["channel", "state"],
        "1, with the current state of the channel as label.");
    GATE_ENVELOPES = gauge(["orderer", "", "gate_waiting_envelopes"], CHANNEL,
        "Envelopes that passed the gate and have no response yet.");
    GATE_BYTES = gauge(["orderer", "", "gate_waiting_bytes"], CHANNEL,
        "Bytes of the gate's capacity that these envelopes occupy.");
    GATE_CAPACITY = gauge(["orderer", "", "gate_capacity_bytes"], CHANNEL,
        "Capacity of the gate in bytes.");
    PENDING = gauge(["orderer", "", "pending_envelopes"], CHANNEL,
        "Envelopes that are acknowledged and not yet in a block.");
    PENDING_BYTES = gauge(["orderer", "", "pending_bytes"], CHANNEL,
        "Bytes of these envelopes.");
    SUBSCRIBERS = gauge(["orderer", "", "subscribers"], CHANNEL,
        "Deliver requests in progress.");
    ACTOR_HANDLED = counter(["orderer", "", "actor_messages_handled"], ACTOR,
        "Messages that an actor has handled. Actors above the channels have an empty channel.");
    ACTOR_RESTARTS = counter(["orderer", "", "actor_restarts"], ACTOR,
        "Number of restarts of an actor.");
    PANICS = counter(["orderer", "", "panics"], &[],
        "Panics in the process.");
    DISK_FREE = gauge(["orderer", "disk", "free_bytes"], &[],
        "Free bytes on the disk of the ledgers.");
    DISK_SIZE = gauge(["orderer", "disk", "size_bytes"], &[],
        "Size of the disk of the ledgers in bytes.");
    KAFKA_NEXT = gauge(["orderer", "kafka", "next_offset"], CHANNEL,
        "Offset of the record that the channel consumes next.");
    KAFKA_END = gauge(["orderer", "kafka", "end_offset"], CHANNEL,
        "Offset of the next record of the topic, as last reported by the broker.");
    KAFKA_LAG = gauge(["orderer", "kafka", "lag"], CHANNEL,
        "Records in the topic that the channel has not consumed yet.");
    KAFKA_START = gauge(["orderer", "kafka", "log_start_offset"], CHANNEL,
        "Oldest offset of the topic, read every few minutes.");
    KAFKA_IN_SYNC = gauge(["orderer", "kafka", "in_sync_replicas"], CHANNEL,
        "Replicas of the topic that are in sync.");
    KAFKA_HOURS = gauge(["orderer", "kafka", "retention_hours_left"], CHANNEL,
        "Estimated hours until the topic has deleted the last record that the channel has consumed; only for topics that delete records.");
    TOKEN_AVAILABLE = gauge(["orderer", "token", "available"], TOKEN,
        "1 while the token with the signing key signs, 0 while it does not.");
    TOKEN_SIGNATURES = counter(["orderer", "token", "signatures"], TOKEN,
        "Signatures that the token made.");
    TOKEN_SECONDS = counter(["orderer", "token", "signing_seconds"], TOKEN,
        "Seconds from the request of these signatures until they were made, in total.");
    TOKEN_FAILURES = counter(["orderer", "token", "failures"], TOKEN,
        "Signatures and connections that failed.");
    TOKEN_OUTAGES = counter(["orderer", "token", "outages"], TOKEN,
        "Times that the token stopped signing.");
    TOKEN_WAITING = gauge(["orderer", "token", "waiting"], TOKEN,
        "Signatures that are waited for.");
    CERTIFICATE = gauge(["orderer", "", "certificate_expiry_timestamp_seconds"], &["certificate", "file"],
        "Expiry of a certificate in use, in seconds since 1970.");
    OVER_LIMIT = counter(["orderer", "", "over_limit"], &["whose", "organization"],
        "Envelopes that were rejected because a client or an organization exceeded its rate limit.");
    ACTIVE_SENDERS = gauge(["orderer", "", "active_senders"], &["whose"],
        "Clients and organizations that have sent envelopes recently.");
    ALLOWED_RATE = gauge(["orderer", "", "allowed_rate"], &["whose"],
        "Current rate limit of each client and each organization in envelopes per second; only if there is a limit.");
    MEMORY_USED = gauge(["orderer", "", "memory_used_bytes"], &["part"],
        "Memory in use for clients: incoming (connections, streams, received messages) and outgoing (blocks and \
         responses that are being sent); and the block cache of all channels (blocks).");
    MEMORY_LIMIT = gauge(["orderer", "", "memory_limit_bytes"], &["part"],
        "Limit of that part; process is Limits.MemoryBytes.");
    MEMORY_WAITING = gauge(["orderer", "", "memory_waiting"], &["part"],
        "Connections (incoming) and streams (outgoing) that wait for memory.");
    CONNECTIONS_OPEN = gauge(["orderer", "", "connections_open"], &["kind"],
        "Open connections of clients and of operators.");
    CONNECTIONS_TURNED_AWAY = counter(["orderer", "", "connections_turned_away"], &["kind", "how"],
        "Connections that were rejected, or closed because others needed their slot or their memory.");
    STREAMS_OPEN = gauge(["orderer", "", "streams_open"], &["kind"],
        "Requests of clients and of operators that are in progress.");
    ADMISSION_REFUSALS = counter(["orderer", "", "admission_refusals"], &["why"],
        "Requests and envelopes that were rejected to protect the node: streams (the maximum number is open), gate (their \
         channel acknowledges nothing, and its queue is full), slow (a message took too long to arrive), turn (a large \
         message came too slowly while others waited), answers (earlier responses were not read).");
    GATE_OUTSIDE = gauge(["orderer", "", "gate_outside_bytes"], CHANNEL,
        "Bytes of streams that wait for capacity of the channel's gate.");
    CPU = counter(["process", "", "cpu_seconds_total"], &[],
        "CPU time used, in seconds.");
    OPEN_FDS = gauge(["process", "", "open_fds"], &[],
        "Open file descriptors.");
    MAX_FDS = gauge(["process", "", "max_fds"], &[],
        "Maximum number of open file descriptors.");
    VIRTUAL_MEMORY = gauge(["process", "", "virtual_memory_bytes"], &[],
        "Virtual memory in bytes.");
    RESIDENT_MEMORY = gauge(["process", "", "resident_memory_bytes"], &[],
        "Resident memory in bytes.");
    START_TIME = gauge(["process", "", "start_time_seconds"], &[],
        "Start of the process, in seconds since 1970.");
    THREADS = gauge(["process", "", "threads"], &[],
        "Number of threads.");
}
