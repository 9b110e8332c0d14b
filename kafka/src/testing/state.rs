//! The fake's records and its pending faults.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::api::{FetchLimits, Fetched, Offsets, Produced, Record, Setting, TopicDescription, TopicSpec};
use crate::error::{Error, Operation};

/// A fault of one call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails without an effect.
    Refuse(Error),
    /// It is done, and the call fails all the same: an acknowledgement that was lost.
    DoneThenLost(Error),
    /// It is done, and the broker asks for a pause.
    Throttle(Duration),
    /// The call is not answered until [`release`](super::FakeCluster::release).
    Hold,
}

/// One slot of a topic.
#[derive(Debug, Clone)]
enum Slot {
    Value(Option<Bytes>),
    /// Something that cannot be read.
    Poison,
}

#[derive(Debug)]
struct Topic {
    partitions: usize,
    max_message_bytes: usize,
    retention_ms: String,
    earliest: usize,
    slots: Vec<Slot>,
}

/// The brokers' side of the fake.
#[derive(Debug, Default)]
pub(super) struct State {
    topics: BTreeMap<String, Topic>,
    pub(super) faults: HashMap<Operation, VecDeque<Fault>>,
    pub(super) outage: Option<fn(Operation) -> Error>,
    pub(super) produced_batches: u64,
}

impl State {
    pub(super) fn create(&mut self, name: &str, partitions: usize, max_message_bytes: Option<u32>) {
        let megabyte = 1024 * 1024;
        let limit = max_message_bytes.map_or(megabyte, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        self.topics.entry(name.to_owned()).or_insert_with(|| Topic {
            partitions,
            max_message_bytes: limit,
            retention_ms: "-1".to_owned(),
            earliest: 0,
            slots: vec![],
        });
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.topics.remove(name);
    }

    pub(super) fn describe(&self, name: &str) -> Result<TopicDescription, Error> {
        let topic = self.topics.get(name).ok_or_else(|| unknown(name))?;
        let name = name.to_owned();
        Ok(TopicDescription {
            name,
            partitions: topic.partitions,
            leader: Some(1),
            replicas: vec![1],
            in_sync: vec![1],
        })
    }

    pub(super) fn ensure(&mut self, spec: &TopicSpec) -> Result<TopicDescription, Error> {
        self.create(&spec.name, 1, spec.max_message_bytes);
        self.led(&spec.name)?;
        self.describe(&spec.name)
    }

    /// A topic that can be written and read.
    fn led(&mut self, name: &str) -> Result<&mut Topic, Error> {
        let topic = self.topics.get_mut(name).ok_or_else(|| unknown(name))?;
        if topic.partitions == 1 {
            Ok(topic)
        } else {
            Err(Error::WrongPartitionCount { topic: name.to_owned(), found: topic.partitions })
        }
    }

    pub(super) fn connect(&mut self, name: &str) -> Result<(), Error> {
        self.led(name).map(|_| ())
    }

    pub(super) fn produce(&mut self, name: &str, values: Vec<Bytes>) -> Result<Produced, Error> {
        let topic = self.led(name)?;
        if values.is_empty() {
            let subject = format!("topic {name}");
            let (operation, code) = (Operation::Produce, "an empty batch".to_owned());
            return Err(Error::Refused { subject, operation, code, message: None });
        }
        let bytes = values.iter().map(Bytes::len).sum();
        if bytes > topic.max_message_bytes {
            return Err(Error::MessageTooLarge { topic: name.to_owned(), bytes, limit: None });
        }
        let base_offset = signed(topic.slots.len());
        topic.slots.extend(values.into_iter().map(|value| Slot::Value(Some(value))));
        self.produced_batches += 1;
        Ok(Produced { base_offset, throttled: None })
    }

    pub(super) fn append(&mut self, name: &str, value: Option<Bytes>) -> Result<i64, Error> {
        let topic = self.led(name)?;
        topic.slots.push(Slot::Value(value));
        Ok(signed(topic.slots.len() - 1))
    }

    pub(super) fn poison(&mut self, name: &str) -> Result<i64, Error> {
        let topic = self.led(name)?;
        topic.slots.push(Slot::Poison);
        Ok(signed(topic.slots.len() - 1))
    }

    pub(super) fn trim(&mut self, name: &str, earliest: i64) -> Result<(), Error> {
        let topic = self.led(name)?;
        topic.earliest = usize::try_from(earliest).unwrap_or(0).min(topic.slots.len());
        Ok(())
    }

    pub(super) fn offsets(&mut self, name: &str) -> Result<Offsets, Error> {
        let topic = self.led(name)?;
        Ok(Offsets { earliest: signed(topic.earliest), next: signed(topic.slots.len()) })
    }

    /// Everything kept, poison left out.
    pub(super) fn values(&self, name: &str) -> Vec<Option<Bytes>> {
        let kept = self.topics.get(name).map(|topic| topic.slots.get(topic.earliest..).unwrap_or_default());
        let value = |slot: &Slot| match slot {
            Slot::Value(value) => Some(value.clone()),
            Slot::Poison => None,
        };
        kept.unwrap_or_default().iter().filter_map(value).collect()
    }

    pub(super) fn fetch(&mut self, name: &str, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        let held = self.offsets(name)?;
        let topic = self.led(name)?;
        let from = usize::try_from(offset).ok().filter(|from| (topic.earliest..=topic.slots.len()).contains(from));
        let Some(from) = from else {
            return Err(Error::OffsetOutOfRange { topic: name.to_owned(), offset, held: Some(held) });
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next_offset = offset;
        for (at, slot) in (offset..).zip(topic.slots.get(from..).unwrap_or_default()) {
            match slot {
                Slot::Value(value) => {
                    bytes += value.as_ref().map_or(0, Bytes::len);
                    if !records.is_empty() && bytes > usize::try_from(limits.max_bytes).unwrap_or(usize::MAX) {
                        break;
                    }
                    records.push(Record { offset: at, value: value.clone() });
                    next_offset = at + 1;
                }
                Slot::Poison if records.is_empty() => {
                    let reason = "it was poisoned by a test".to_owned();
                    return Err(Error::Poison { topic: name.to_owned(), offset: at, reason });
                }
                Slot::Poison => break,
            }
        }
        Ok(Fetched { records, next_offset, high_watermark: held.next, throttled: None })
    }

    pub(super) fn settings(&self, name: &str) -> Result<Vec<Setting>, Error> {
        let topic = self.topics.get(name).ok_or_else(|| unknown(name))?;
        let setting = |name: &str, value: String| Setting { name: name.to_owned(), value: Some(value), is_own: true };
        Ok(vec![
            setting("cleanup.policy", "delete".to_owned()),
            setting("max.message.bytes", topic.max_message_bytes.to_string()),
            setting("retention.ms", topic.retention_ms.clone()),
        ])
    }
}

fn unknown(topic: &str) -> Error {
    Error::UnknownTopic { topic: topic.to_owned() }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
