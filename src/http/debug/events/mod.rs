//! `/debug/events`: changes of channels and actors, as server-sent events.
//!
//! An event is the difference between two polls of the published state, half a second apart, so no code on the path
//! of an envelope depends on readers. One task polls for all readers. A slow reader costs nothing: it is given the
//! latest poll when it reads again, and the number that it missed.

mod sampler;
mod snapshot;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::sampler::{Sample, SnapshotReceiver, SnapshotSampler};
use self::snapshot::{Event, NodeSnapshot};
use super::Shared;
use crate::http::response::ApiError;

/// Maximum number of concurrent readers.
const READERS_MAX: usize = 32;
/// Interval between polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between keep-alive comments, so that proxies do not close an idle stream.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);

/// Permits for readers, and the task that polls for them.
pub(in crate::http) struct EventReaders {
    places: Arc<Semaphore>,
    looking: Arc<SnapshotSampler>,
}

impl Default for EventReaders {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(READERS_MAX)), looking: Arc::new(SnapshotSampler::new(POLL_INTERVAL)) }
    }
}

pub(super) async fn events(State(debug): Shared) -> Result<Response, ApiError> {
    let place = Arc::clone(&debug.event_readers.places).try_acquire_owned();
    let too_many =
        |_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{READERS_MAX} readers are connected already"));
    let place = place.map_err(too_many)?;
    let context = Arc::clone(&debug.context);
    let looks = debug.event_readers.looking.follow(move || NodeSnapshot::of(&context));
    let told = told(looks, place, debug.stopping.clone());
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(told)).into_response())
}

/// Yields one reader's events, from the latest poll on, until the node stops.
fn told(
    mut looks: SnapshotReceiver,
    place: OwnedSemaphorePermit,
    stopping: CancellationToken,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let _place = place;
        let (mut id, mut last_sign) = (0, Instant::now());
        loop {
            let look = tokio::select! {
                look = looks.next() => look,
                () = stopping.cancelled() => return,
            };
            let Some((before, now)) = look else { return };
            let text = match before {
                None => ": events of the orderer\n\n".to_owned(),
                Some(before) => text_of(&before, &now, &mut id),
            };
            if !text.is_empty() {
                last_sign = Instant::now();
                yield Ok(Bytes::from(text));
            } else if last_sign.elapsed() >= SIGN_OF_LIFE_EVERY {
                last_sign = Instant::now();
                yield Ok(Bytes::from_static(b":\n\n"));
            }
        }
    }
}

#[derive(Serialize)]
struct NumberedEvent<'a> {
    id: u64,
    #[serde(flatten)]
    event: &'a Event,
}

/// Returns the events for a reader that was last given the poll `before`.
fn text_of(before: &Sample, now: &Sample, id: &mut u64) -> String {
    let left_out = now.samples_missed_since(before);
    let caught_up;
    let events = if left_out == 0 {
        &now.events
    } else {
        let mut events = vec![Event::missed(left_out)];
        events.extend(now.seen.diff(&before.seen));
        caught_up = events;
        &caught_up
    };
    let mut text = String::new();
    for event in events {
        *id += 1;
        // an event contains nothing that JSON cannot express
        let Ok(data) = serde_json::to_string(&NumberedEvent { id: *id, event }) else { continue };
        let _ = write!(text, "id: {id}\nevent: {}\ndata: {data}\n\n", event.kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::snapshot::tests::seen;
    use super::*;

    #[test]
    fn a_reader_that_was_slow_is_told_so_and_then_what_has_changed() {
        let mut looks = vec![Sample::after(None, seen("it runs", 1, 0, 0))];
        for height in 2..=4 {
            let next = Sample::after(looks.last(), seen("it runs", height, 0, 0));
            looks.push(next);
        }
        let mut id = 6;
        let text = text_of(&looks[0], &looks[3], &mut id);
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert!(events[0].starts_with("id: 7\nevent: missed\ndata: {\"id\":7,"), "{text}");
        assert!(events[0].contains("\"count\":2") && events[0].contains("2 samples were skipped"), "{text}");
        assert!(events[1].starts_with("id: 8\nevent: block\n") && events[1].contains("\"count\":3"), "{text}");
        assert_eq!(events.len(), 2);
        assert_eq!(text_of(&looks[2], &looks[3], &mut id).matches("event: ").count(), 1, "who keeps up misses nothing");
    }
}
