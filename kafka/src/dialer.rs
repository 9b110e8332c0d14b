//! Finding a broker that answers, and the one that leads.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::connection::{Connection, ConnectionOptions};
use crate::error::{Error, Operation, Unavailable};
use crate::metadata::{self, TopicLeadership};
use crate::settings::{Settings, SettingsError, Timeouts};
use crate::tls;

/// Time without an answer after which the next broker is tried beside the first: a host that hangs must not cost the whole
/// deadline while another would answer at once.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Interval between checks whether a silent leader still leads. A process that hangs keeps its connections; the other brokers
/// report that it lost its topics.
const STILL_LEADING_EVERY: Duration = Duration::from_secs(1);

/// Maximum number of brokers that are asked at a time about a topic that another did not know.
const ASKED_AT_ONCE: usize = 8;

/// How to reach the brokers of one cluster.
pub(crate) struct Dialer {
    brokers: Vec<Address>,
    access: ConnectionOptions,
    timeouts: Timeouts,
    max_request_bytes: usize,
    /// Index of the broker that is asked first the next time: each in turn, so that no answer, however wrong, is asked for for
    /// ever.
    next: AtomicUsize,
}

impl Dialer {
    pub(crate) fn new(settings: Settings) -> Result<Self, SettingsError> {
        let brokers: Result<Vec<_>, _> = settings.brokers.iter().map(|text| Address::parse(text)).collect();
        let brokers = brokers?;
        if brokers.is_empty() {
            return Err(SettingsError::NoBrokers);
        }
        let access = ConnectionOptions {
            client_id: Arc::from(settings.client_id),
            tls: settings.tls.as_ref().map(tls::client_config).transpose()?,
            sasl: settings.sasl,
            within: settings.timeouts.dial,
            traffic: settings.traffic,
        };
        let Settings { timeouts, max_request_bytes, .. } = settings;
        Ok(Self { brokers, access, timeouts, max_request_bytes, next: AtomicUsize::new(0) })
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(crate) fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    /// A connection to that broker.
    pub(crate) async fn broker(&self, address: &Address) -> Result<Connection, Error> {
        Connection::open(address, &self.access).await
    }

    /// Returns a connection to the broker that answers first. When none does, the error is one that needs an operator, if there
    /// is one.
    pub(crate) async fn any(&self) -> Result<Connection, Error> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.brokers.len();
        let (before, after) = self.brokers.split_at(first);
        let mut waiting: VecDeque<&Address> = after.iter().chain(before).collect();
        let mut attempts = FuturesUnordered::new();
        attempts.extend(waiting.pop_front().map(|address| self.broker(address)));
        let mut failed: Option<Error> = None;
        loop {
            tokio::select! {
                attempt = attempts.next() => match attempt {
                    Some(Ok(connection)) => return Ok(connection),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "kafka broker does not do");
                        if failed.as_ref().is_none_or(Error::is_transient) {
                            failed = Some(error);
                        }
                    }
                    // nobody left to wait for: the loop was entered with one attempt, so there is an error
                    None => return Err(failed.unwrap_or_else(|| self.nobody())),
                },
                () = sleep(NEXT_AFTER), if !waiting.is_empty() => {}
            }
            attempts.extend(waiting.pop_front().map(|address| self.broker(address)));
        }
    }

    /// Returns the brokers' description of a topic, and a connection to the broker that gave it. A broker that has just
    /// come up does not know the topics yet, so a topic counts as unknown only when the other brokers and the
    /// controller do not know it either.
    pub(crate) async fn topic(&self, topic: &str) -> Result<(Connection, TopicLeadership), Error> {
        let any = self.any().await?;
        match metadata::topic(&any, topic, self.timeouts.read).await {
            Err(unknown @ Error::UnknownTopic { .. }) => {
                // a broker that keeps silent costs one deadline, like one that is asked alone
                let limit = self.timeouts.dial + self.timeouts.read;
                match timeout(limit, self.ask_others(&any, topic)).await {
                    Ok(Some(answer)) => answer,
                    Ok(None) | Err(_) => Err(unknown),
                }
            }
            answer => answer.map(|led| (any, led)),
        }
    }

    /// Asks the controller, the brokers that `asked` names and those of the settings. `None`: no broker that answers knows the
    /// topic.
    async fn ask_others(
        &self,
        asked: &Connection,
        topic: &str,
    ) -> Option<Result<(Connection, TopicLeadership), Error>> {
        let named = metadata::brokers(asked, self.timeouts.read).await.unwrap_or_default();
        let mut others: Vec<Address> = Vec::new();
        for address in named.into_iter().chain(self.brokers.iter().cloned()) {
            if address != *asked.address() && !others.contains(&address) {
                others.push(address);
            }
        }
        let answers = stream::iter(others).map(|address| async move {
            let connection = self.broker(&address).await?;
            let led = metadata::topic(&connection, topic, self.timeouts.read).await?;
            Ok::<_, Error>((connection, led))
        });
        let mut answers = std::pin::pin!(answers.buffer_unordered(ASKED_AT_ONCE));
        let mut not_ready = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(found) => return Some(Ok(found)),
                // this broker knows that there is such a topic
                Err(error @ Error::Unavailable { .. }) => not_ready = Some(Err(error)),
                Err(error) => tracing::debug!(%error, topic, "Kafka broker does not know the topic"),
            }
        }
        not_ready
    }

    /// A connection of its own to the topic's leader.
    pub(crate) async fn leader(&self, topic: &str) -> Result<Connection, Error> {
        let (any, found) = self.topic(topic).await?;
        let leader = found.leader()?;
        if *any.address() == leader {
            return Ok(any);
        }
        drop(any);
        self.with_leader(topic, &leader, Operation::Connect, Duration::ZERO, self.broker(&leader)).await
    }

    /// Waits for what was asked of a leader, but not longer than it leads. `patience` is how long it was asked to take.
    pub(crate) async fn with_leader<T>(
        &self,
        topic: &str,
        leader: &Address,
        operation: Operation,
        patience: Duration,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            answer = asked => answer,
            successor = self.successor(topic, leader, patience) => Err(Error::Unavailable {
                subject: format!("topic {topic}"),
                operation,
                reason: Unavailable::LeaderMoved,
                code: format!("broker {leader} kept silent, {successor} leads now"),
            }),
        }
    }

    /// Ends when another broker leads the topic.
    async fn successor(&self, topic: &str, leader: &Address, patience: Duration) -> Address {
        sleep(patience).await;
        loop {
            sleep(STILL_LEADING_EVERY).await;
            let leads = async {
                let any = self.any().await?;
                metadata::topic(&any, topic, self.timeouts.read).await?.leader()
            };
            // an error here tells nothing: the caller's own deadline decides
            if let Ok(found) = leads.await
                && found != *leader
            {
                return found;
            }
        }
    }

    fn nobody(&self) -> Error {
        let brokers = self.brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Error::Unreachable { broker: brokers, cause: std::io::ErrorKind::NotConnected.into() }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}
