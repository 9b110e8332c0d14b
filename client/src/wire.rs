//! `AtomicBroadcast` for clients: sends envelopes as bytes, and receives blocks as bytes.

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

/// Maximum size in bytes of a message. Fabric's own limit is 100 MB by default.
const MESSAGE_MAX_BYTES: usize = 256 << 20;

/// The messages of an orderer on one stream. Ends when the orderer ends the stream.
pub type ResponseStream<M> = Pin<Box<dyn Stream<Item = Result<M, ClientError>> + Send>>;

/// One message of a Deliver stream.
#[derive(Debug)]
pub enum DeliverItem {
    /// A block, whose data hash was recomputed.
    Block(EncodedBlock),
    /// The final status of the request.
    Status(FabricStatus),
}

/// The service, over a connection or anything else with the same interface.
#[derive(Clone)]
pub struct OrdererClient<T>(Grpc<T>);

impl<T> OrdererClient<T>
where
    T: GrpcService<Body> + Clone + Send + 'static,
    T::Future: Send,
    T::Error: Send,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    /// Calls `service`.
    pub fn new(service: T) -> Self {
        Self(Grpc::new(service).max_decoding_message_size(MESSAGE_MAX_BYTES))
    }

    /// Opens a Broadcast stream with these serialized envelopes. Nothing is sent before the responses are polled.
    pub fn broadcast(
        &self,
        envelopes: impl Stream<Item = Bytes> + Send + 'static,
    ) -> ResponseStream<BroadcastResponse> {
        self.call("/orderer.AtomicBroadcast/Broadcast", envelopes)
    }

    /// Opens a Deliver stream with this one request.
    pub fn deliver(&self, request: Bytes) -> ResponseStream<DeliverItem> {
        Box::pin(self.deliver_raw(request).map(|answer| answer.and_then(RawDeliverResponse::read)))
    }

    /// Opens a stream as [`deliver`](Self::deliver) does, but returns the blocks unparsed, for a caller that only
    /// inspects them.
    pub fn deliver_raw(&self, request: Bytes) -> ResponseStream<RawDeliverResponse> {
        let requests = futures_util::stream::once(std::future::ready(request));
        self.call("/orderer.AtomicBroadcast/Deliver", requests)
    }

    /// Opens a stream. Both directions begin at once, because an orderer may send the head of its response only with
    /// the first message in it, for which it waits for a request.
    fn call<M: prost::Message + Default + 'static>(
        &self,
        method: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> ResponseStream<M> {
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
    orderer_actors::chain_state::error_chain(error)
}

/// `DeliverResponse` with its block unparsed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RawDeliverResponse {
    /// The final status.
    #[prost(int32, optional, tag = "1")]
    pub status: Option<i32>,
    /// A serialized `Block`.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub block: Option<Bytes>,
}

impl RawDeliverResponse {
    fn read(self) -> Result<DeliverItem, ClientError> {
        match (self.block, self.status) {
            (Some(block), _) => Ok(DeliverItem::Block(EncodedBlock::parse(&block)?)),
            (None, Some(status)) => {
                FabricStatus::try_from(status).map(DeliverItem::Status).map_err(|_| ClientError::Answer)
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
