//! Metrics that are counted where something happens, by family. Those that are only read when metrics are scraped are not here.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, Registry};

use super::metric_table as t;

pub(super) struct MetricFamilies {
    pub(super) validate: HistogramVec,
    pub(super) enqueue: HistogramVec,
    pub(super) processed: IntCounterVec,
    pub(super) fill: HistogramVec,
    pub(super) commit: HistogramVec,
    pub(super) streams_opened: IntCounterVec,
    pub(super) streams_closed: IntCounterVec,
    pub(super) requests_received: IntCounterVec,
    pub(super) requests_completed: IntCounterVec,
    pub(super) blocks_sent: IntCounterVec,
    pub(super) grpc_duration: HistogramVec,
    pub(super) grpc_received: IntCounterVec,
    pub(super) grpc_completed: IntCounterVec,
    pub(super) grpc_messages_received: IntCounterVec,
    pub(super) grpc_messages_sent: IntCounterVec,
    pub(super) unary_duration: HistogramVec,
    pub(super) unary_received: IntCounterVec,
    pub(super) unary_completed: IntCounterVec,
    pub(super) connections_opened: IntCounterVec,
    pub(super) connections_closed: IntCounterVec,
    pub(super) stage: HistogramVec,
    pub(super) cut: IntCounterVec,
    pub(super) block_envelopes: HistogramVec,
    pub(super) certificates: GaugeVec,
    pub(super) over_limit: IntCounterVec,
    pub(super) raft_persist: HistogramVec,
}

impl MetricFamilies {
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            validate: t::VALIDATE.histograms(registry),
            enqueue: t::ENQUEUE.histograms(registry),
            processed: t::PROCESSED.counters(registry),
            fill: t::FILL.histograms(registry),
            commit: t::COMMIT.histograms(registry),
            streams_opened: t::STREAMS_OPENED.counters(registry),
            streams_closed: t::STREAMS_CLOSED.counters(registry),
            requests_received: t::REQUESTS_RECEIVED.counters(registry),
            requests_completed: t::REQUESTS_COMPLETED.counters(registry),
            blocks_sent: t::BLOCKS_SENT.counters(registry),
            grpc_duration: t::GRPC_STREAM_DURATION.histograms(registry),
            grpc_received: t::GRPC_STREAMS_RECEIVED.counters(registry),
            grpc_completed: t::GRPC_STREAMS_COMPLETED.counters(registry),
            grpc_messages_received: t::GRPC_MESSAGES_RECEIVED.counters(registry),
            grpc_messages_sent: t::GRPC_MESSAGES_SENT.counters(registry),
            unary_duration: t::GRPC_UNARY_DURATION.histograms(registry),
            unary_received: t::GRPC_UNARY_RECEIVED.counters(registry),
            unary_completed: t::GRPC_UNARY_COMPLETED.counters(registry),
            connections_opened: t::CONNECTIONS_OPENED.counters(registry),
            connections_closed: t::CONNECTIONS_CLOSED.counters(registry),
            stage: t::STAGE.histograms(registry),
            cut: t::CUT.counters(registry),
            block_envelopes: t::BLOCK_ENVELOPES.histograms(registry),
            certificates: t::CERTIFICATE.gauges(registry),
            over_limit: t::OVER_LIMIT.counters(registry),
            raft_persist: t::RAFT_PERSIST.histograms(registry),
        }
    }
}
