//! Reads one topic.

use std::sync::Arc;
use std::time::Duration;

use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{
    IsolationLevel, ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic, NORMAL_CONSUMER,
};
use rskafka::protocol::primitives::{Int32, Int64, String_};

use crate::api::{Consumer, FetchLimits, Fetched, KafkaFuture, Offsets};
use crate::classify::topic_error;
use crate::connection::Connection;
use crate::dialer::Dialer;
use crate::error::{Error, Operation};
use crate::throttle::ThrottleDelay;
use crate::wire::fetch::{FetchRequestFrame, PartitionResponse};

/// Times that stand for the ends of a topic.
const EARLIEST: Int64 = Int64(-2);
const NEXT: Int64 = Int64(-1);

/// The [`Consumer`] over real brokers.
#[derive(Debug)]
pub(crate) struct KafkaConsumer {
    dialer: Arc<Dialer>,
    topic: String,
    /// The connection to the leader. Taken out while a request is in flight, and not put back after an error or when a call is
    /// dropped: the rest of a long poll would be in the way of the next request.
    connection: Option<Connection>,
    pause: ThrottleDelay,
}

impl KafkaConsumer {
    pub(crate) fn new(dialer: Arc<Dialer>, topic: &str) -> Self {
        Self { dialer, topic: topic.to_owned(), connection: None, pause: ThrottleDelay::default() }
    }

    async fn connected(&mut self) -> Result<Connection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.dialer.leader(&self.topic).await,
        }
    }

    async fn read(&mut self, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        self.pause.over(self.dialer.timeouts().read).await;
        let connection = self.connected().await?;
        let within = limits.max_wait + self.dialer.timeouts().read;
        let asked = connection.request(Operation::Fetch, FetchRequestFrame::new(&self.topic, offset, limits), within);
        let leader = connection.address();
        let answer = self.dialer.with_leader(&self.topic, leader, Operation::Fetch, limits.max_wait, asked).await?;
        let found = answer.partition.filter(|found| found.topic == self.topic);
        let found =
            found.ok_or_else(|| self.misunderstood(&connection, Operation::Fetch, "it is about another topic"))?;
        match found.error {
            None => {}
            Some(Code::OffsetOutOfRange) => return Err(self.out_of_range(&connection, offset).await),
            Some(code) => return Err(topic_error(&self.topic, Operation::Fetch, code)),
        }

        let PartitionResponse { high_watermark, log, .. } = found;
        let (poison, cut_off) = (log.poison.clone(), log.cut_off);
        let (records, next_offset) = log.records(offset);
        // what stands before the poison is handed out first; the next call meets it
        if next_offset == offset {
            if let Some((offset, reason)) = poison {
                return Err(Error::Poison { topic: self.topic.clone(), offset, reason });
            }
            if cut_off {
                // brokers give the first batch whole, so going on would ask for the same for ever
                return Err(self.misunderstood(&connection, Operation::Fetch, "its only batch is cut off"));
            }
        }
        self.connection = Some(connection);
        Ok(Fetched { records, next_offset, high_watermark, throttled: self.pause.begin(answer.throttle_ms) })
    }

    /// The error says what the topic holds, if that can still be learned.
    async fn out_of_range(&self, connection: &Connection, offset: i64) -> Error {
        let held = self.ask_offsets(connection).await.ok();
        Error::OffsetOutOfRange { topic: self.topic.clone(), offset, held }
    }

    async fn held(&mut self) -> Result<Offsets, Error> {
        let connection = self.connected().await?;
        let asked = self.ask_offsets(&connection);
        let leader = connection.address();
        let held = self.dialer.with_leader(&self.topic, leader, Operation::Offsets, Duration::ZERO, asked).await?;
        self.connection = Some(connection);
        Ok(held)
    }

    async fn ask_offsets(&self, connection: &Connection) -> Result<Offsets, Error> {
        let earliest = self.ask_offset(connection, EARLIEST).await?;
        let next = self.ask_offset(connection, NEXT).await?;
        Ok(Offsets { earliest, next })
    }

    async fn ask_offset(&self, connection: &Connection, timestamp: Int64) -> Result<i64, Error> {
        let partition =
            ListOffsetsRequestPartition { partition_index: Int32(0), timestamp, max_num_offsets: Some(Int32(1)) };
        let topic = ListOffsetsRequestTopic { name: String_(self.topic.clone()), partitions: vec![partition] };
        let request = ListOffsetsRequest {
            replica_id: NORMAL_CONSUMER,
            isolation_level: Some(IsolationLevel::ReadUncommitted),
            topics: vec![topic],
        };
        let answer = connection.request(Operation::Offsets, request, self.dialer.timeouts().read).await?;
        let topic = answer.topics.into_iter().find(|found| found.name.0 == self.topic);
        let partition = topic.and_then(|topic| topic.partitions.into_iter().find(|found| found.partition_index.0 == 0));
        let partition =
            partition.ok_or_else(|| self.misunderstood(connection, Operation::Offsets, "it is about another topic"))?;
        if let Some(code) = partition.error_code {
            return Err(topic_error(&self.topic, Operation::Offsets, code));
        }
        let oldest_protocol = partition.old_style_offsets.and_then(|offsets| offsets.0?.first().copied());
        let offset = partition.offset.or(oldest_protocol);
        let offset = offset.ok_or_else(|| self.misunderstood(connection, Operation::Offsets, "it has no offset"))?;
        Ok(offset.0)
    }

    fn misunderstood(&self, connection: &Connection, operation: Operation, reason: &str) -> Error {
        let reason = format!("topic {}: {reason}", self.topic);
        Error::Protocol { broker: connection.address().to_string(), operation, reason }
    }
}

impl Consumer for KafkaConsumer {
    fn connect(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(async {
            self.connection = Some(self.connected().await?);
            Ok(())
        })
    }

    fn fetch(&mut self, offset: i64, limits: FetchLimits) -> KafkaFuture<'_, Fetched> {
        Box::pin(self.read(offset, limits))
    }

    fn offsets(&mut self) -> KafkaFuture<'_, Offsets> {
        Box::pin(self.held())
    }
}
