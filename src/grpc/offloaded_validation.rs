//! Validates envelopes on threads other than the one that reads them.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use orderer_actors::NodeContext;
use orderer_actors::validation_queue::{acquire_validation_permit, on_own_thread};
use tokio::task::spawn_blocking;

use super::message_reader::IncomingMessage;
use super::validate::{self, ValidationOutcome, validate_batch};
use super::validation_threads::ThreadGuard;
use crate::admission::Charge;
use crate::traces::RemoteParent;

/// Validates envelopes on another thread: resolves to the results in the order of the envelopes, or to how the thread failed.
pub(super) type OffloadedValidation =
    Pin<Box<dyn Future<Output = Result<Vec<(ValidationOutcome, Charge)>, String>> + Send>>;

/// Validates envelopes on one other thread, which `thread` counts.
pub(super) fn offload(
    read: Vec<IncomingMessage>,
    context: Arc<NodeContext>,
    parent: RemoteParent,
    thread: ThreadGuard,
) -> OffloadedValidation {
    Box::pin(async move {
        let work = move || {
            // the stream may collect them late, so they are no longer announced then
            let outcomes = validate_batch(read, &context, &parent).outcomes;
            drop(thread);
            outcomes
        };
        spawn_blocking(work).await.map_err(|error| error.to_string())
    })
}

/// Validates envelopes that include config updates, each of which runs on a blocking thread when its turn has come.
/// Stops behind the first envelope whose response ends the stream.
pub(super) async fn validate_in_parts(
    read: Vec<IncomingMessage>,
    context: Arc<NodeContext>,
    parent: RemoteParent,
    client: IpAddr,
) -> Result<Vec<(ValidationOutcome, Charge)>, String> {
    let mut outcomes: Vec<(ValidationOutcome, Charge)> = Vec::with_capacity(read.len());
    let mut read = read.into_iter().peekable();
    while let Some(first) = read.next() {
        let (with, parent) = (Arc::clone(&context), parent.clone());
        if let Some(channel) = validate::config_update_queue(&first.bytes, &context) {
            match acquire_validation_permit(&channel, Some(client)).await {
                Ok(turn) => {
                    let work = move || {
                        let outcomes = validate_batch(vec![first], &with, &parent).outcomes;
                        drop(turn);
                        outcomes
                    };
                    outcomes.extend(on_own_thread(work).await.map_err(|error| error.to_string())?);
                }
                Err(crowded) => {
                    outcomes.push((validate::reject_without_validation(crowded.to_string(), &context), first.charge));
                }
            }
        } else {
            let mut part = vec![first];
            while let Some(next) = read.next_if(|next| validate::config_update_queue(&next.bytes, &context).is_none()) {
                part.push(next);
            }
            let work = spawn_blocking(move || validate_batch(part, &with, &parent).outcomes);
            outcomes.extend(work.await.map_err(|error| error.to_string())?);
        }
        if outcomes.iter().any(|(outcome, _)| outcome.verdict.as_ref().is_err_and(|refused| !refused.keeps_stream_open))
        {
            break;
        }
    }
    Ok(outcomes)
}
