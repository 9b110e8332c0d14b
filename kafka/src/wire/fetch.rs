//! Reading records. The request is rskafka's; the answer is taken apart here, batch by batch, so that one unreadable
//! batch does not hide those before it, and its offset is known.

use std::io::{Cursor, Read};

use rskafka::protocol::api_key::ApiKey;
use rskafka::protocol::api_version::{ApiVersion, ApiVersionRange};
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, IsolationLevel, NORMAL_CONSUMER, ReadVersionedError,
    ReadVersionedType, RequestBody, WriteVersionedError, WriteVersionedType,
};
use rskafka::protocol::primitives::{Int16, Int32, Int64, String_};
use rskafka::protocol::record::{ControlBatchOrRecords, RecordBatch};
use rskafka::protocol::traits::{ReadError, ReadType};

use crate::api::{FetchLimits, Record};

/// Bytes of a batch before what its length counts: offset and length.
const BATCH_PREFIX_BYTES: usize = 12;

/// Asks for the records of a topic's only partition.
#[derive(Debug)]
pub(crate) struct FetchRequestFrame(FetchRequest);

impl FetchRequestFrame {
    pub(crate) fn new(topic: &str, offset: i64, limits: FetchLimits) -> Self {
        let max_bytes = Int32(i32::try_from(limits.max_bytes).unwrap_or(i32::MAX));
        let max_wait_ms = Int32(i32::try_from(limits.max_wait.as_millis()).unwrap_or(i32::MAX));
        let partition =
            FetchRequestPartition { partition: Int32(0), fetch_offset: Int64(offset), partition_max_bytes: max_bytes };
        Self(FetchRequest {
            replica_id: NORMAL_CONSUMER,
            max_wait_ms,
            // answered as soon as there is anything
            min_bytes: Int32(1),
            max_bytes: Some(max_bytes),
            // every orderer must see the same records, and Fabric's client reads uncommitted
            isolation_level: Some(IsolationLevel::ReadUncommitted),
            topics: vec![FetchRequestTopic { topic: String_(topic.to_owned()), partitions: vec![partition] }],
        })
    }
}

impl RequestBody for FetchRequestFrame {
    type ResponseBody = FetchResponseBody;

    const API_KEY: ApiKey = FetchRequest::API_KEY;
    const API_VERSION_RANGE: ApiVersionRange = FetchRequest::API_VERSION_RANGE;
    const FIRST_TAGGED_FIELD_IN_REQUEST_VERSION: ApiVersion = FetchRequest::FIRST_TAGGED_FIELD_IN_REQUEST_VERSION;
}

impl WriteVersionedType<Vec<u8>> for FetchRequestFrame {
    fn write_versioned(&self, writer: &mut Vec<u8>, version: ApiVersion) -> Result<(), WriteVersionedError> {
        self.0.write_versioned(writer, version)
    }
}

/// The answer about the one partition that was asked for.
#[derive(Debug)]
pub(crate) struct FetchResponseBody {
    pub(crate) throttle_ms: i32,
    /// None when the answer has no partition.
    pub(crate) partition: Option<PartitionResponse>,
}

#[derive(Debug)]
pub(crate) struct PartitionResponse {
    pub(crate) topic: String,
    pub(crate) error: Option<Code>,
    pub(crate) high_watermark: i64,
    pub(crate) log: PartitionLog,
}

impl ReadVersionedType<Cursor<Vec<u8>>> for FetchResponseBody {
    fn read_versioned(reader: &mut Cursor<Vec<u8>>, _: ApiVersion) -> Result<Self, ReadVersionedError> {
        // one topic and one partition were asked for; the last of each is kept
        let mut answer = Self { throttle_ms: Int32::read(reader)?.0, partition: None };
        for _ in 0..count(reader)? {
            let topic = String_::read(reader)?.0;
            for _ in 0..count(reader)? {
                answer.partition = Some(partition(topic.clone(), reader)?);
            }
        }
        Ok(answer)
    }
}

fn partition(topic: String, reader: &mut Cursor<Vec<u8>>) -> Result<PartitionResponse, ReadError> {
    let _index = Int32::read(reader)?;
    let error = Code::new(Int16::read(reader)?.0);
    let high_watermark = Int64::read(reader)?.0;
    let _last_stable_offset = Int64::read(reader)?;
    for _ in 0..count(reader)? {
        let _aborted_transaction = (Int64::read(reader)?, Int64::read(reader)?);
    }
    let length = count(reader)?;
    let from = usize::try_from(reader.position())?;
    let to = from.saturating_add(length);
    let bytes = reader.get_ref().get(from..to).ok_or_else(|| malformed("records end before their length"))?;
    let log = PartitionLog::read(bytes);
    reader.set_position(u64::try_from(to)?);
    Ok(PartitionResponse { topic, error, high_watermark, log })
}

/// A count of elements or bytes; -1, for null, is none.
fn count<R: Read>(reader: &mut R) -> Result<usize, ReadError> {
    match Int32::read(reader)?.0 {
        -1 => Ok(0),
        n => Ok(usize::try_from(n)?),
    }
}

fn malformed(what: &str) -> ReadError {
    ReadError::Malformed(what.into())
}

/// A stretch of a topic's log, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    batches: Vec<RecordBatch>,
    /// First offset of, and what is wrong with, the first batch that cannot be read.
    pub(crate) poison: Option<(i64, String)>,
    /// Whether a batch begins that does not end here.
    pub(crate) cut_off: bool,
}

impl PartitionLog {
    fn read(mut bytes: &[u8]) -> Self {
        let mut log = Self::default();
        while !bytes.is_empty() {
            let Some((base_offset, length)) = prefix(bytes) else {
                log.cut_off = true;
                break;
            };
            // a length that is none stands for all that is left: the batch is unreadable then
            let end = usize::try_from(length).map_or(bytes.len(), |length| length.saturating_add(BATCH_PREFIX_BYTES));
            let Some((batch, rest)) = bytes.split_at_checked(end) else {
                log.cut_off = true;
                break;
            };
            match RecordBatch::read(&mut &*batch) {
                Ok(batch) => log.batches.push(batch),
                Err(error) => {
                    log.poison = Some((base_offset, error.to_string()));
                    break;
                }
            }
            bytes = rest;
        }
        log
    }

    /// The records from `offset` on, and the offset after all that was read.
    pub(crate) fn records(self, offset: i64) -> (Vec<Record>, i64) {
        let mut next = offset;
        let mut records = Vec::new();
        for batch in self.batches {
            // brokers give whole batches, so the first may begin before what was asked for
            if let ControlBatchOrRecords::Records(found) = batch.records {
                let placed = found.into_iter().filter_map(|record| {
                    let at = batch.base_offset.checked_add(i64::from(record.offset_delta))?;
                    (at >= offset).then(|| Record { offset: at, value: record.value.map(Into::into) })
                });
                records.extend(placed);
            }
            let end = batch.base_offset.saturating_add(i64::from(batch.last_offset_delta)).saturating_add(1);
            next = next.max(end);
        }
        (records, next)
    }
}

fn prefix(bytes: &[u8]) -> Option<(i64, i32)> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some((i64::from_be_bytes(*offset), i32::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rskafka::protocol::traits::WriteType;

    use super::*;
    use crate::wire::produce;

    fn batch(base_offset: i64, values: &[&'static str]) -> Vec<u8> {
        let values = values.iter().map(|value| bytes::Bytes::from_static(value.as_bytes())).collect();
        let mut batch = produce::batch(values, 0);
        batch.base_offset = base_offset;
        let mut bytes = vec![];
        batch.write(&mut bytes).unwrap();
        bytes
    }

    fn seen(bytes: &[u8], from: i64) -> (Vec<(i64, String)>, i64, Option<i64>, bool) {
        let log = PartitionLog::read(bytes);
        let (poison, cut_off) = (log.poison.as_ref().map(|(at, _)| *at), log.cut_off);
        let (records, next) = log.records(from);
        let text = |record: Record| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        (records.into_iter().map(|record| (record.offset, text(record))).collect(), next, poison, cut_off)
    }

    #[test]
    fn records_before_the_offset_are_left_out() {
        let bytes = [batch(5, &["a", "b", "c"]), batch(8, &["d"])].concat();
        let expected = vec![(6, "b".to_owned()), (7, "c".to_owned()), (8, "d".to_owned())];
        assert_eq!(seen(&bytes, 6), (expected, 9, None, false));
    }

    #[test]
    fn an_unreadable_batch_is_named_and_hides_nothing_before_it() {
        let mut broken = batch(7, &["x", "y"]);
        *broken.last_mut().unwrap() ^= 1;
        let bytes = [batch(6, &["a"]), broken, batch(9, &["z"])].concat();
        assert_eq!(seen(&bytes, 6), (vec![(6, "a".to_owned())], 7, Some(7), false));
    }

    #[test]
    fn a_batch_that_is_cut_off_is_no_poison() {
        let whole = [batch(0, &["a"]), batch(1, &["b"])].concat();
        for end in batch(0, &["a"]).len() + 1..whole.len() {
            assert_eq!(seen(&whole[..end], 0), (vec![(0, "a".to_owned())], 1, None, true), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_broker_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400), offset: i64) {
            let (records, next) = PartitionLog::read(&bytes).records(offset);
            prop_assert!(records.is_empty() && next == offset);
            let _ = FetchResponseBody::read_versioned(&mut Cursor::new(bytes), ApiVersion(Int16(4)));
        }

        #[test]
        fn no_damaged_batch_is_too_odd(at in 0_usize..90, to: u8) {
            let mut bytes = batch(5, &["some value", "another"]);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = PartitionLog::read(&bytes).records(0);
        }
    }
}
