//! Clients of Broadcast and Deliver, and the responses that they receive.

use fabric_proto::common::{Block, Envelope, Status};
use fabric_proto::orderer::atomic_broadcast_client::AtomicBroadcastClient;
use fabric_proto::orderer::deliver_response::Type;
use fabric_proto::orderer::{BroadcastResponse, DeliverResponse, SeekInfo};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::messages::{block, newest, oldest, seek, seek_info, seek_info_at_once};
use super::{TestIdentity, within};

/// One event on a stream of responses.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A status. The text is the `info` of Broadcast, and empty for Deliver.
    Status(Status, String),
    /// A block.
    Block(Block),
    /// The end of the stream. `None` is an end without an error.
    End(Option<(tonic::Code, String)>),
}

/// A client with one connection.
#[derive(Clone)]
pub struct Client {
    pub grpc: AtomicBroadcastClient<Channel>,
    pub channel: Channel,
}

impl Client {
    pub async fn connect(address: &str) -> Self {
        Self::on(Endpoint::from_shared(format!("http://{address}")).unwrap()).await
    }

    /// Connects with the settings of this endpoint.
    pub async fn on(endpoint: Endpoint) -> Self {
        let channel = within("a connection", endpoint.connect()).await.unwrap();
        Self::over(channel)
    }

    pub fn over(channel: Channel) -> Self {
        let grpc = AtomicBroadcastClient::new(channel.clone()).max_decoding_message_size(200 << 20);
        Self { grpc, channel }
    }

    /// Opens a Broadcast stream.
    pub async fn broadcasting(&self) -> Broadcasting {
        self.try_broadcasting().await.unwrap()
    }

    pub async fn try_broadcasting(&self) -> Result<Broadcasting, tonic::Status> {
        let (requests, receiver) = mpsc::channel(64);
        let opened = self.grpc.clone().broadcast(ReceiverStream::new(receiver)).await?;
        Ok(Broadcasting { requests: Some(requests), answers: opened.into_inner() })
    }

    /// Opens a Deliver stream.
    pub async fn delivering(&self) -> Delivering {
        let (requests, receiver) = mpsc::channel(64);
        let opened = self.grpc.clone().deliver(ReceiverStream::new(receiver)).await.unwrap();
        Delivering { requests: Some(requests), answers: opened.into_inner() }
    }

    /// Broadcasts one envelope on a new stream and returns the response.
    pub async fn broadcast(&self, envelope: Envelope) -> (Status, String) {
        let mut stream = self.broadcasting().await;
        stream.send(envelope).await;
        match stream.next().await {
            Step::Status(status, info) => (status, info),
            other => panic!("no answer but {other:?}"),
        }
    }

    /// Broadcasts envelopes, each of which must be accepted.
    pub async fn order(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        let mut stream = self.broadcasting().await;
        for envelope in envelopes {
            stream.send(envelope).await;
            assert_eq!(stream.next().await, Step::Status(Status::Success, String::new()));
        }
    }

    /// Opens a Deliver stream and sends one request.
    pub async fn deliver(&self, who: &TestIdentity, channel: &str, info: SeekInfo) -> Delivering {
        let mut stream = self.delivering().await;
        stream.send(seek(who, channel, &info)).await;
        stream
    }

    /// Returns a block. Waits for it if it is the next one.
    pub async fn block(&self, who: &TestIdentity, channel: &str, number: u64) -> Block {
        self.deliver(who, channel, seek_info(block(number), block(number))).await.block().await
    }

    pub async fn newest_block(&self, who: &TestIdentity, channel: &str) -> Block {
        self.deliver(who, channel, seek_info(newest(), newest())).await.block().await
    }

    /// Returns all blocks of a channel.
    pub async fn chain(&self, who: &TestIdentity, channel: &str) -> Vec<Block> {
        let chain = self.chain_if_served(who, channel).await;
        chain.unwrap_or_else(|| panic!("the chain of {channel} is not served now"))
    }

    /// Returns all blocks of a channel, or `None` if the node responds SERVICE_UNAVAILABLE (a Raft node without a
    /// leader).
    pub async fn chain_if_served(&self, who: &TestIdentity, channel: &str) -> Option<Vec<Block>> {
        let mut stream = self.deliver(who, channel, seek_info_at_once(oldest(), newest())).await;
        let mut blocks = Vec::new();
        loop {
            match stream.next().await {
                Step::Block(block) => blocks.push(block),
                Step::Status(Status::Success, _) => return Some(blocks),
                Step::Status(Status::ServiceUnavailable, _) => return None,
                other => panic!("the chain of {channel} ends with {other:?}"),
            }
        }
    }
}

/// A Broadcast stream.
pub struct Broadcasting {
    requests: Option<mpsc::Sender<Envelope>>,
    answers: Streaming<BroadcastResponse>,
}

/// A Deliver stream.
pub struct Delivering {
    requests: Option<mpsc::Sender<Envelope>>,
    answers: Streaming<DeliverResponse>,
}

impl Broadcasting {
    /// Sends an envelope. It is discarded if the stream has ended.
    pub async fn send(&mut self, envelope: Envelope) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(envelope).await;
        }
    }

    /// Ends the client's side of the stream.
    pub fn finish(&mut self) {
        self.requests = None;
    }

    pub async fn next(&mut self) -> Step {
        match within("an answer of Broadcast", self.answers.message()).await {
            Ok(Some(answer)) => Step::Status(answer.status(), answer.info),
            end => Step::end(end.map(|_| ())),
        }
    }

    /// Splits the stream for two tasks: one that sends and one that receives.
    pub fn split(self) -> (Option<mpsc::Sender<Envelope>>, Streaming<BroadcastResponse>) {
        (self.requests, self.answers)
    }
}

impl Delivering {
    pub async fn send(&mut self, envelope: Envelope) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(envelope).await;
        }
    }

    pub fn finish(&mut self) {
        self.requests = None;
    }

    pub async fn next(&mut self) -> Step {
        within("an answer of Deliver", self.next_whenever()).await
    }

    /// Waits for the next response without a time limit, for a test that has its own.
    pub async fn next_whenever(&mut self) -> Step {
        match self.answers.message().await {
            Ok(Some(DeliverResponse { r#type: Some(Type::Block(block)) })) => Step::Block(block),
            Ok(Some(DeliverResponse { r#type: Some(Type::Status(status)) })) => {
                Step::Status(Status::try_from(status).unwrap(), String::new())
            }
            Ok(Some(DeliverResponse { r#type: None })) => panic!("an answer without content"),
            end => Step::end(end.map(|_| ())),
        }
    }

    /// Returns the next response, which must be a block.
    pub async fn block(&mut self) -> Block {
        match self.next().await {
            Step::Block(block) => block,
            other => panic!("no block but {other:?}"),
        }
    }

    /// Returns the next response, which must be a status.
    pub async fn status(&mut self) -> Status {
        match self.next().await {
            Step::Status(status, _) => status,
            other => panic!("no status but {other:?}"),
        }
    }
}

impl Step {
    fn end(result: Result<(), tonic::Status>) -> Self {
        Self::End(result.err().map(|status| (status.code(), status.message().to_owned())))
    }
}

/// Returns the number of a block.
pub fn number(block: &Block) -> u64 {
    block.header.as_ref().unwrap().number
}

/// Returns the envelopes of a block.
pub fn entries(block: &Block) -> Vec<Envelope> {
    use fabric_proto::Message as _;
    block.data.iter().flat_map(|data| &data.data).map(|raw| Envelope::decode(raw.clone()).unwrap()).collect()
}
