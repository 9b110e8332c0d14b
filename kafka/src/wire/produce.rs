//! Appending records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rskafka::protocol::messages::{ProduceRequest, ProduceRequestPartitionData, ProduceRequestTopicData};
use rskafka::protocol::primitives::{Int16, Int32, NullableString, Records, String_};
use rskafka::protocol::record::{
    ControlBatchOrRecords, Record, RecordBatch, RecordBatchCompression, RecordBatchTimestampType,
};

use crate::api::RECORD_KEY;

/// Bytes a record takes beside its value, at most: key, lengths, deltas.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 32;

/// Acknowledged by all replicas in sync.
const ALL_IN_SYNC: Int16 = Int16(-1);

/// A request with these batches, for a topic's only partition. The leader waits for its replicas up to `replication`.
pub(crate) fn request(topic: &str, batches: Vec<RecordBatch>, replication: Duration) -> ProduceRequest {
    let partition = ProduceRequestPartitionData { index: Int32(0), records: Records(batches) };
    ProduceRequest {
        transactional_id: NullableString(None),
        acks: ALL_IN_SYNC,
        timeout_ms: Int32(i32::try_from(replication.as_millis()).unwrap_or(i32::MAX)),
        topic_data: vec![ProduceRequestTopicData { name: String_(topic.to_owned()), partition_data: vec![partition] }],
    }
}

/// Builds a batch with one record for each value, in this order, all written at `timestamp_ms`.
pub(crate) fn batch(values: Vec<Bytes>, timestamp_ms: i64) -> RecordBatch {
    let records: Vec<_> = (0..)
        .zip(values)
        .map(|(offset_delta, value)| Record {
            key: Some(RECORD_KEY.to_vec()),
            value: Some(value.into()),
            timestamp_delta: 0,
            offset_delta,
            headers: vec![],
        })
        .collect();
    RecordBatch {
        base_offset: 0,
        partition_leader_epoch: 0,
        last_offset_delta: records.last().map_or(0, |record| record.offset_delta),
        is_transactional: false,
        base_sequence: -1,
        compression: RecordBatchCompression::NoCompression,
        timestamp_type: RecordBatchTimestampType::CreateTime,
        producer_id: -1,
        producer_epoch: -1,
        first_timestamp: timestamp_ms,
        max_timestamp: timestamp_ms,
        records: ControlBatchOrRecords::Records(records),
    }
}

/// Milliseconds since 1970, for the broker's own books: no orderer reads a record's time.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
