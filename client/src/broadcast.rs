//! Sends envelopes through one Broadcast stream after the other, until each has its response.

use std::collections::VecDeque;

use bytes::Bytes;
use fabric_proto::common::Status as FabricStatus;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::GrpcService;

use super::{ClientError, OrdererClient};

/// An envelope to send.
#[derive(Clone, Debug)]
pub struct OutgoingEnvelope {
    /// The sender's name for it.
    pub name: String,
    /// The serialized `Envelope`.
    pub envelope: Bytes,
}

/// Sends everything that `items` yields, with at most `window` unanswered, and reports each response in order to
/// `tell`.
///
/// A rejection ends a stream. Envelopes sent after one that the orderer's filters reject were not processed, and are
/// sent again on another stream. After SERVICE_UNAVAILABLE they may have been ordered: sending them again could order
/// them twice.
///
/// # Errors
/// Fails with an error of `items`; with [`ClientError::Unanswered`] when a stream breaks, or ends by
/// SERVICE_UNAVAILABLE with more sent.
pub async fn broadcast_all<T, E: From<ClientError>>(
    orderer: &OrdererClient<T>,
    mut items: impl Stream<Item = Result<OutgoingEnvelope, E>> + Unpin,
    window: usize,
    mut tell: impl FnMut(&OutgoingEnvelope, FabricStatus, &str) -> Result<(), E>,
) -> Result<(), E>
where
    T: GrpcService<Body> + Clone + Send + 'static,
    T::Future: Send,
    T::Error: Send,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let mut waiting: VecDeque<OutgoingEnvelope> = VecDeque::new();
    let mut more = true;
    while more || !waiting.is_empty() {
        // everything in this queue is also in `waiting`: there is always capacity
        let (queue, queued) = mpsc::channel(window);
        let mut answers = orderer.broadcast(ReceiverStream::new(queued));
        for item in &waiting {
            let _ = queue.try_send(item.envelope.clone());
        }
        loop {
            if !more && waiting.is_empty() {
                return Ok(());
            }
            tokio::select! {
                item = items.next(), if more && waiting.len() < window => match item {
                    Some(item) => {
                        let item = item?;
                        // to a stream that has ended: its end is received next
                        let _ = queue.try_send(item.envelope.clone());
                        waiting.push_back(item);
                    }
                    None => more = false,
                },
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => {
                        let Some(item) = waiting.pop_front() else { return Err(ClientError::Answer.into()) };
                        let status = FabricStatus::try_from(answer.status).unwrap_or(FabricStatus::Unknown);
                        tell(&item, status, &answer.info)?;
                        match status {
                            FabricStatus::Success => {}
                            FabricStatus::ServiceUnavailable if !waiting.is_empty() => {
                                let unanswered = waiting.len();
                                return Err(ClientError::Unanswered { unanswered, cause: None }.into());
                            }
                            _ => break,
                        }
                    }
                    ended => {
                        let cause = match ended {
                            Some(Err(ClientError::Stream(status))) => Some(status),
                            Some(Err(other)) => return Err(other.into()),
                            _ => None,
                        };
                        return Err(ClientError::Unanswered { unanswered: waiting.len(), cause }.into());
                    }
                },
            }
        }
    }
    Ok(())
}
