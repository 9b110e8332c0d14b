//! gRPC calls below the generated client: any bytes on a stream, at any rate.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http_body::{Body as _, Frame};
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service as _;

use super::within;

struct Chunks<S>(S);

impl<S: Stream<Item = Bytes> + Unpin> http_body::Body for Chunks<S> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.0.poll_next_unpin(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Calls `Broadcast` or `Deliver` with a body of these bytes.
pub async fn call(
    channel: &Channel,
    method: &str,
    body: impl Stream<Item = Bytes> + Send + Unpin + 'static,
) -> Result<Body, tonic::transport::Error> {
    call_path(channel, &format!("/orderer.AtomicBroadcast/{method}"), body).await.map(http::Response::into_body)
}

/// Calls any method with a body of these bytes.
pub async fn call_path(
    channel: &Channel,
    path: &str,
    body: impl Stream<Item = Bytes> + Send + Unpin + 'static,
) -> Result<http::Response<Body>, tonic::transport::Error> {
    let mut channel = channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Chunks(body)))
        .unwrap();
    channel.call(request).await
}

/// Reads the response of a call to its end. Returns the data, and the gRPC code in the trailers if there are trailers.
pub async fn read_to_end(mut body: Body) -> (Bytes, Option<String>) {
    let (mut data, mut code) = (BytesMut::new(), None);
    while let Some(Ok(frame)) = within("the end of a call", next_frame(&mut body)).await {
        match frame.into_data() {
            Ok(bytes) => data.put(bytes),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap();
                code = trailers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
            }
        }
    }
    (data.freeze(), code)
}

/// Reads and discards the response of a call without a time limit.
pub async fn drain(mut body: Body) {
    while let Some(Ok(_)) = next_frame(&mut body).await {}
}

async fn next_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, tonic::Status>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// Returns the gRPC prefix of a message of this length.
pub fn prefix(length: usize) -> Bytes {
    let mut prefix = BytesMut::with_capacity(5);
    prefix.put_u8(0);
    prefix.put_u32(u32::try_from(length).unwrap());
    prefix.freeze()
}
