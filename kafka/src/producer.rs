//! Appends to one topic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::ProduceResponse;
use rskafka::protocol::record::RecordBatch;

use crate::api::{KafkaFuture, Produced, Producer};
use crate::classify::topic_error;
use crate::connection::Connection;
use crate::dialer::Dialer;
use crate::error::{Error, Operation};
use crate::throttle::ThrottleDelay;
use crate::wire::produce;

/// The [`Producer`] over real brokers.
#[derive(Debug)]
pub(crate) struct KafkaProducer {
    dialer: Arc<Dialer>,
    topic: String,
    /// The connection to the leader. Taken out while a request is in flight, and not put back after an error or when a call is
    /// dropped.
    connection: Option<Connection>,
    pause: ThrottleDelay,
}

impl KafkaProducer {
    pub(crate) fn new(dialer: Arc<Dialer>, topic: &str) -> Self {
        Self { dialer, topic: topic.to_owned(), connection: None, pause: ThrottleDelay::default() }
    }

    async fn connected(&mut self) -> Result<Connection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.dialer.leader(&self.topic).await,
        }
    }

    async fn append(&mut self, values: Vec<Bytes>) -> Result<Produced, Error> {
        if values.is_empty() {
            return Err(self.refused("an empty batch", None));
        }
        let bytes: usize = values.iter().map(Bytes::len).sum();
        let limit = self.dialer.max_request_bytes();
        if bytes + values.len() * produce::RECORD_OVERHEAD_BYTES > limit {
            return Err(Error::MessageTooLarge { topic: self.topic.clone(), bytes, limit: Some(limit) });
        }

        self.pause.over(self.dialer.timeouts().write).await;
        let batch = produce::batch(values, produce::now_ms());
        let (base_offset, throttle_ms) = match self.send(vec![batch]).await? {
            (Ok(base_offset), throttle_ms) => (base_offset, throttle_ms),
            (Err(Code::MessageTooLarge | Code::RecordListTooLarge), _) => {
                return Err(Error::MessageTooLarge { topic: self.topic.clone(), bytes, limit: None });
            }
            (Err(code), _) => return Err(topic_error(&self.topic, Operation::Produce, code)),
        };
        Ok(Produced { base_offset, throttled: self.pause.begin(throttle_ms) })
    }

    /// Asks for permission with a request without records: brokers check authorization before the records, so it is rejected
    /// for the one or for the other reason, and appends nothing.
    async fn ask_permission(&mut self) -> Result<(), Error> {
        match self.send(vec![]).await? {
            (Ok(_) | Err(Code::InvalidRecord | Code::CorruptMessage | Code::InvalidRequest), _) => Ok(()),
            (Err(code), _) => Err(topic_error(&self.topic, Operation::Produce, code)),
        }
    }

    /// Sends one request. Returns the leader's result for the partition (the base offset or its error), and its throttle.
    async fn send(&mut self, batches: Vec<RecordBatch>) -> Result<(Result<i64, Code>, i32), Error> {
        let connection = self.connected().await?;
        let within = self.dialer.timeouts().write;
        // the leader gives up first, so that it can say why
        let request = produce::request(&self.topic, batches, within * 3 / 4);
        let asked = connection.request(Operation::Produce, request, within);
        let leader = connection.address();
        let answer = self.dialer.with_leader(&self.topic, leader, Operation::Produce, Duration::ZERO, asked).await?;

        let throttle_ms = answer.throttle_time_ms.map_or(0, |ms| ms.0);
        let outcome = outcome(&answer, &self.topic).ok_or_else(|| Error::Protocol {
            broker: leader.to_string(),
            operation: Operation::Produce,
            reason: format!("it says nothing about topic {}", self.topic),
        })?;
        if outcome.is_ok() {
            self.connection = Some(connection);
        }
        Ok((outcome, throttle_ms))
    }

    fn refused(&self, code: &str, message: Option<String>) -> Error {
        let subject = format!("topic {}", self.topic);
        Error::Refused { subject, operation: Operation::Produce, code: code.to_owned(), message }
    }
}

fn outcome(answer: &ProduceResponse, topic: &str) -> Option<Result<i64, Code>> {
    let topic = answer.responses.iter().find(|found| found.name.0 == topic)?;
    let partition = topic.partition_responses.iter().find(|found| found.index.0 == 0)?;
    Some(partition.error.map_or(Ok(partition.base_offset.0), Err))
}

impl Producer for KafkaProducer {
    fn connect(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(async {
            self.connection = Some(self.connected().await?);
            Ok(())
        })
    }

    fn produce(&mut self, values: Vec<Bytes>) -> KafkaFuture<'_, Produced> {
        Box::pin(self.append(values))
    }

    fn check_permission(&mut self) -> KafkaFuture<'_, ()> {
        Box::pin(self.ask_permission())
    }
}
