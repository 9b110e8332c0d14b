//! One Step stream: opens it, waits until it ends, and returns the reason.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::api::SendError;
use super::error_text::describe;
use super::queue::{Queue, StepBody};
use crate::wire::NOT_AUTHORIZED;

/// The end of a stream.
pub(super) enum Ended {
    /// This side ended the stream.
    Finished,
    /// The stream failed for this reason; the number of messages was dropped.
    Aborted(SendError, usize),
    /// The peer does not accept this node as a consenter of the channel; the number of messages was dropped.
    Unauthorized(SendError, usize),
}

/// Runs a stream until it ends; `grace` is the time limit for the peer to end a stream that this side has finished.
/// The queue is closed when the future resolves, or is dropped.
pub(super) async fn run(
    mut sender: SendRequest<StepBody>,
    body: StepBody,
    queue: Arc<Queue>,
    endpoint: &str,
    grace: Duration,
) -> Ended {
    let guard = Guard(queue);
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{endpoint}/orderer.Cluster/Step"))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(body);
    let request = match request {
        Ok(request) => request,
        Err(error) => return guard.abort(format!("'{endpoint}' is no authority: {error}")),
    };
    let mut answer = std::pin::pin!(async {
        match sender.send_request(request).await {
            Ok(response) => status_of(response).await,
            Err(error) => Err(describe(&error)),
        }
    });
    let ended = tokio::select! {
        ended = &mut answer => Some(ended),
        () = guard.0.closed() => None,
    };
    let ended = match (ended, guard.0.why_aborted()) {
        (Some(ended), _) => ended,
        // dropping the pending request resets the stream
        (None, Some(why)) => return Ended::Aborted(why, 0),
        (None, None) => match timeout(grace, answer).await {
            Ok(ended) => ended,
            Err(_) => return Ended::Finished,
        },
    };
    match ended {
        _ if guard.0.is_done() => Ended::Finished,
        Ok(status) if status.code() == Code::Ok && guard.0.first_since().is_none() => Ended::Finished,
        Ok(status) => {
            let is_unauthorized = status.message().contains(NOT_AUTHORIZED);
            match guard.abort(format!("the other side ended it: {:?}: {}", status.code(), status.message())) {
                Ended::Aborted(why, dropped) if is_unauthorized => Ended::Unauthorized(why, dropped),
                ended => ended,
            }
        }
        Err(why) => guard.abort(why),
    }
}

/// Closes the queue of a stream that has ended.
struct Guard(Arc<Queue>);

impl Guard {
    fn abort(&self, why: String) -> Ended {
        let why = SendError::Aborted(why);
        let dropped = self.0.abort(&why);
        Ended::Aborted(why, dropped)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort(&SendError::Aborted("the stream ended".to_owned()));
    }
}

/// Returns the status with which the peer ends the stream. Fabric's orderers send nothing before it.
async fn status_of(response: http::Response<Incoming>) -> Result<Status, String> {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Ok(status);
    }
    let code = response.status();
    let mut body = response.into_body();
    loop {
        match std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
            // responses are not read
            Some(Ok(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(of_trailers(&trailers));
                }
            }
            Some(Err(error)) => return Err(describe(&error as &(dyn Error + 'static))),
            None => return Ok(Status::unknown(format!("no status; HTTP {code}"))),
        }
    }
}

fn of_trailers(trailers: &HeaderMap) -> Status {
    Status::from_header_map(trailers).unwrap_or_else(|| Status::unknown("no status"))
}
