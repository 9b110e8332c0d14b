//! One connection to one broker: opened within a deadline, asked within a deadline, dropped at the first error.

use std::future::Future;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use rskafka::client::{Credentials, SaslConfig};
use rskafka::messenger::Messenger;
use rskafka::protocol::messages::{ReadVersionedType, RequestBody, WriteVersionedType};
use rustls::ClientConfig;
use tokio::io::BufStream;
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::classify::{connection_error, request_error, sasl_error, versions_error};
use crate::error::{Error, Operation};
use crate::settings::Sasl;
use crate::stream::Stream;
use crate::traffic::{CountedStream, Counters, Traffic};

/// A request up to this size leaves in one write.
const BUFFER_BYTES: usize = 64 * 1024;

/// Maximum size of an answer that is accepted, in bytes. An answer holds at least one whole batch, and brokers accept requests
/// of up to 100 MiB by default.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Values that all connections of a cluster share.
#[derive(Clone)]
pub(crate) struct ConnectionOptions {
    pub(crate) client_id: Arc<str>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) sasl: Option<Sasl>,
    /// Time limit of the whole opening.
    pub(crate) within: Duration,
    pub(crate) traffic: Arc<Traffic>,
}

/// An open connection. Its answers come in the order of its requests, so a caller that polls for long needs one of its own.
pub(crate) struct Connection {
    address: Address,
    messenger: Messenger<BufStream<CountedStream>>,
    traffic: Arc<Traffic>,
    counters: Arc<Counters>,
}

impl Connection {
    /// Opens a connection that can be used: TCP, TLS, the broker's versions, SASL.
    pub(crate) async fn open(address: &Address, access: &ConnectionOptions) -> Result<Self, Error> {
        let opening =
            Handshake { broker: address.to_string(), within: access.within, until: Instant::now() + access.within };

        let tcp = opening.step(Operation::Connect, Stream::connect(address)).await?;
        let tcp = tcp.map_err(|cause| Error::Unreachable { broker: address.to_string(), cause })?;
        let stream = match &access.tls {
            None => Stream::Plain(tcp),
            Some(config) => opening
                .step(Operation::Connect, Stream::secure(tcp, address, Arc::clone(config)))
                .await?
                .map_err(|cause| connection_error(&opening.broker, Operation::Connect, &cause))?,
        };

        let counters = access.traffic.with(&opening.broker);
        let stream = CountedStream::new(stream, Arc::clone(&counters));
        let stream = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, stream);
        let mut messenger = Messenger::new(stream, ANSWER_BYTES_MAX, Arc::clone(&access.client_id));
        opening
            .step(Operation::Connect, messenger.sync_versions())
            .await?
            .map_err(|error| versions_error(&opening.broker, &error))?;
        if let Some(sasl) = &access.sasl {
            opening
                .step(Operation::Authenticate, messenger.do_sasl(sasl_config(sasl)))
                .await?
                .map_err(|error| sasl_error(&opening.broker, sasl, &error))?;
        }
        tracing::debug!(broker = %address, "connected to kafka broker");
        Ok(Self { address: address.clone(), messenger, traffic: Arc::clone(&access.traffic), counters })
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks, and waits for the answer until the deadline. After an error or a dropped call the connection must be dropped:
    /// the answer may still come, and whatever is asked next would wait behind it.
    pub(crate) async fn request<R>(
        &self,
        operation: Operation,
        request: R,
        within: Duration,
    ) -> Result<R::ResponseBody, Error>
    where
        R: RequestBody + Send + WriteVersionedType<Vec<u8>>,
        R::ResponseBody: ReadVersionedType<Cursor<Vec<u8>>>,
    {
        let asked = Instant::now();
        self.counters.asked();
        let answer = match tokio::time::timeout(within, self.messenger.request(request)).await {
            Ok(answer) => answer
                .inspect(|_| self.counters.answered(asked.elapsed()))
                .map_err(|error| request_error(&self.address.to_string(), operation, &error)),
            Err(_) => Err(Error::Timeout { broker: self.address.to_string(), operation, after: within }),
        };
        tracing::debug!(broker = %self.address, %operation, micros = asked.elapsed().as_micros(),
            error = answer.as_ref().err().map(tracing::field::display), "sent a request to the Kafka broker");
        answer
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One deadline over several steps.
struct Handshake {
    broker: String,
    within: Duration,
    until: Instant,
}

impl Handshake {
    async fn step<T>(&self, operation: Operation, step: impl Future<Output = T>) -> Result<T, Error> {
        let timed_out = |_| Error::Timeout { broker: self.broker.clone(), operation, after: self.within };
        timeout_at(self.until, step).await.map_err(timed_out)
    }
}

fn sasl_config(sasl: &Sasl) -> SaslConfig {
    let credentials =
        |given: &crate::settings::Credentials| Credentials::new(given.user.clone(), given.password.clone());
    match sasl {
        Sasl::Plain(given) => SaslConfig::Plain(credentials(given)),
        Sasl::ScramSha256(given) => SaslConfig::ScramSha256(credentials(given)),
        Sasl::ScramSha512(given) => SaslConfig::ScramSha512(credentials(given)),
    }
}
