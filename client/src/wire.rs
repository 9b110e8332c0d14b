//! `AtomicBroadcast` as a client calls it: envelopes out as bytes, blocks in as bytes.

use std::marker::PhantomData;
use std::pin::Pin;

use async_stream::stream;
use bytes::{BufMut as _, Bytes};
use fabric_proto::common::Status as FabricStatus;
use fabric_proto::orderer::BroadcastResponse;
use futures_util::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use orderer_core::block::EncodedBlock;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

use super::ClientError;

/// No larger message is read. Fabric's own limit is 100 MB by default.
const MESSAGE_MAX_BYTES: usize = 256 << 20;

/// What an orderer says on a stream, one after the other. Ends when the orderer ends the stream.
pub type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, ClientError>> + Send>>;

/// One thing a Deliver stream says.
#[derive(Debug)]
pub enum Delivered {
    /// A block, whose data hash was recomputed.
    Block(EncodedBlock),
    /// The end of what was asked for, or why there is no more.
    Status(FabricStatus),
}

/// The service, over a connection or over anything else that is called like one.
#[derive(Clone)]
pub struct Orderer<T>(Grpc<T>);

impl<T> Orderer<T>
where
    T: GrpcService<Body> + Clone + Send + 'static,
    T::Future: Send,
    T::Error: Send,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    /// Speaks over `service`.
    pub fn over(service: T) -> Self {
        Self(Grpc::new(service).max_decoding_message_size(MESSAGE_MAX_BYTES))
    }

    /// A Broadcast stream that carries these serialized envelopes. Nothing is sent before the answers are polled.
    pub fn broadcast(&self, envelopes: impl Stream<Item = Bytes> + Send + 'static) -> Answers<BroadcastResponse> {
        self.call("/orderer.AtomicBroadcast/Broadcast", envelopes)
    }

    /// A Deliver stream with this one request.
    pub fn deliver(&self, request: Bytes) -> Answers<Delivered> {
        Box::pin(self.deliver_unread(request).map(|answer| answer.and_then(DeliverAnswer::read)))
    }

    /// As [`deliver`](Self::deliver), with the blocks as they came, for who does no more than look.
    pub fn deliver_unread(&self, request: Bytes) -> Answers<DeliverAnswer> {
        let requests = futures_util::stream::once(std::future::ready(request));
        self.call("/orderer.AtomicBroadcast/Deliver", requests)
    }

    /// An orderer may send the head of its answer only with the first message in it, for which it waits for ours: so both
    /// directions begin at once.
    fn call<M: prost::Message + Default + 'static>(
        &self,
        method: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Answers<M> {
        let mut grpc = self.0.clone();
        Box::pin(stream! {
            let not_ready = |error: T::Error| Status::unavailable(chain(&*error.into()));
            if let Err(status) = grpc.ready().await.map_err(not_ready) {
                yield Err(status.into());
                return;
            }
            let opened = grpc.streaming(Request::new(messages), PathAndQuery::from_static(method), Raw::<M>::NEW).await;
            let mut answers = match opened {
                Ok(opened) => opened.into_inner(),
                Err(status) => {
                    yield Err(status.into());
                    return;
                }
            };
            loop {
                match answers.message().await {
                    Ok(Some(message)) => yield Ok(message),
                    Ok(None) => return,
                    Err(status) => {
                        yield Err(status.into());
                        return;
                    }
                }
            }
        })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    orderer_actors::chain_state::chain_text(error)
}

/// `DeliverResponse` with its block left unread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliverAnswer {
    /// How it ended.
    #[prost(int32, optional, tag = "1")]
    pub status: Option<i32>,
    /// A serialized `Block`.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub block: Option<Bytes>,
}

impl DeliverAnswer {
    fn read(self) -> Result<Delivered, ClientError> {
        match (self.block, self.status) {
            (Some(block), _) => Ok(Delivered::Block(EncodedBlock::parse(&block)?)),
            (None, Some(status)) => {
                FabricStatus::try_from(status).map(Delivered::Status).map_err(|_| ClientError::Answer)
            }
            (None, None) => Err(ClientError::Answer),
        }
    }
}

/// Sends bytes as they are, and reads messages of type `M`.
struct Raw<M>(PhantomData<fn() -> M>);

impl<M> Raw<M> {
    const NEW: Self = Self(PhantomData);
}

impl<M: prost::Message + Default + 'static> Codec for Raw<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::NEW
    }

    fn decoder(&mut self) -> Self {
        Self::NEW
    }
}

impl<M> Encoder for Raw<M> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.len());
        buffer.put(message);
        Ok(())
    }
}

impl<M: prost::Message + Default> Decoder for Raw<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(buffer).map(Some).map_err(|error| Status::internal(format!("the answer does not parse: {error}")))
    }
}
