//! What happens, as it happens: server-sent events.
//!
//! An event is the difference between two looks at what is published, half a second apart. So nothing on the way of an
//! envelope knows of readers; and a reader that does not read costs nothing: it is looked for again when it reads, and told
//! how many looks it missed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use orderer_actors::channel::Entry;
use orderer_actors::status::{InHand, Level, now_ms};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Debug, Shared};
use crate::http::answer::Refused;

/// So many read at a time.
const READERS_MAX: usize = 32;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So that whoever is in between does not think that nobody is there any more.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);

/// Places for readers.
pub(in crate::http) struct EventReaders(Arc<Semaphore>);

impl Default for EventReaders {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

#[derive(Debug, Serialize)]
struct Event {
    id: u64,
    at_ms: u64,
    kind: &'static str,
    channel: Option<String>,
    actor: Option<String>,
    text: String,
    level: Option<Level>,
    height: Option<u64>,
    count: Option<u64>,
}

/// What was seen at a look.
#[derive(Default)]
struct Seen {
    channels: BTreeMap<String, SeenChannel>,
    actors: BTreeMap<String, SeenActor>,
    refusals: u64,
}

#[derive(PartialEq)]
struct SeenChannel {
    state: String,
    level: Level,
    height: u64,
}

struct SeenActor {
    state: String,
    restarts: u64,
    stuck: bool,
}

pub(super) async fn events(State(debug): Shared) -> Result<Response, Refused> {
    let place = Arc::clone(&debug.event_readers.0).try_acquire_owned();
    let too_many =
        |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("{READERS_MAX} others read events already"));
    let place = place.map_err(too_many)?;
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream(debug, place))).into_response())
}

fn stream(
    debug: Arc<Debug>,
    place: OwnedSemaphorePermit,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let _place = place;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut id) = (Seen::of(&debug), 0);
        let (mut last_look, mut last_sign) = (Instant::now(), Instant::now());
        yield Ok(Bytes::from_static(b": events of the orderer\n\n"));
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = debug.stopping.cancelled() => return,
            }
            let now = Seen::of(&debug);
            let mut events = Vec::new();
            let missed = last_look.elapsed().as_millis() / LOOK_EVERY.as_millis();
            if missed > 4 {
                let text = format!("the reader was slow: {missed} looks are told as one");
                let count = u64::try_from(missed).ok();
                events.push(Event { count, ..Event::new("missed", text) });
            }
            now.differences(&seen, &mut events);
            (seen, last_look) = (now, Instant::now());
            let mut text = String::new();
            for mut event in events {
                id += 1;
                event.id = id;
                // an event has nothing that JSON could not say
                let Ok(data) = serde_json::to_string(&event) else { continue };
                let _ = write!(text, "id: {id}\nevent: {}\ndata: {data}\n\n", event.kind);
            }
            if text.is_empty() && last_sign.elapsed() >= SIGN_OF_LIFE_EVERY {
                text.push_str(":\n\n");
            }
            if !text.is_empty() {
                last_sign = Instant::now();
                yield Ok(Bytes::from(text));
            }
        }
    }
}

impl Event {
    fn new(kind: &'static str, text: String) -> Self {
        Self { id: 0, at_ms: now_ms(), kind, channel: None, actor: None, text, level: None, height: None, count: None }
    }
}

impl Seen {
    fn of(debug: &Debug) -> Self {
        let board = &debug.context.board;
        let channel = |entry: &Entry| match entry {
            Entry::Open(channel) => {
                let state = channel.state();
                let level = Level::of_channel(&state);
                SeenChannel { state: state.to_string(), level, height: channel.ledger().height() }
            }
            Entry::Broken(broken) => {
                SeenChannel { state: format!("it cannot be opened: {}", broken.cause), level: Level::Bad, height: 0 }
            }
        };
        let actors = board.all().into_iter().map(|(path, cell)| {
            let (report, in_hand) = (cell.report(), cell.in_hand());
            let stuck = in_hand.as_ref().is_some_and(InHand::is_stuck);
            (path, SeenActor { state: report.state, restarts: report.restarts, stuck })
        });
        Self {
            channels: debug
                .context
                .directory
                .all()
                .iter()
                .map(|(id, entry)| (id.to_string(), channel(entry)))
                .collect(),
            actors: actors.collect(),
            refusals: debug.context.observed.refusals().total(),
        }
    }

    fn differences(&self, before: &Self, events: &mut Vec<Event>) {
        for (name, now) in &self.channels {
            let was = before.channels.get(name);
            let event =
                |kind, text| Event { channel: Some(name.clone()), level: Some(now.level), ..Event::new(kind, text) };
            if was.is_none_or(|was| was.state != now.state) {
                events.push(event("state", now.state.clone()));
            }
            let blocks = was.map_or(0, |was| now.height.saturating_sub(was.height));
            if blocks > 0 {
                let text = format!("height {}", now.height);
                events.push(Event { height: Some(now.height), count: Some(blocks), ..event("block", text) });
            }
        }
        for name in before.channels.keys().filter(|name| !self.channels.contains_key(*name)) {
            let text = "it is no channel of this orderer any more".to_owned();
            events.push(Event { channel: Some(name.clone()), ..Event::new("state", text) });
        }
        for (path, now) in &self.actors {
            let was = before.actors.get(path);
            let event =
                |kind, text, level| Event { actor: Some(path.clone()), level: Some(level), ..Event::new(kind, text) };
            let level = Level::of_actor(&now.state);
            if was.is_some_and(|was| was.restarts != now.restarts) {
                events.push(event("actor", format!("started again, for the {}. time", now.restarts), level));
            } else if was.is_none_or(|was| was.state != now.state) {
                events.push(event("actor", now.state.clone(), level));
            }
            match (was.is_some_and(|was| was.stuck), now.stuck) {
                (false, true) => events.push(event("stuck", "it is stuck".to_owned(), Level::Bad)),
                (true, false) => events.push(event("stuck", "it goes on".to_owned(), level)),
                _ => {}
            }
        }
        let refused = self.refusals.saturating_sub(before.refusals);
        if refused > 0 {
            let text = format!("{refused} envelopes refused");
            events.push(Event { count: Some(refused), ..Event::new("refusals", text) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &str, height: u64, restarts: u64, refusals: u64) -> Seen {
        let channel = SeenChannel { state: state.to_owned(), level: Level::Good, height };
        let actor = SeenActor { state: "running".to_owned(), restarts, stuck: false };
        Seen {
            channels: [("a".to_owned(), channel)].into(),
            actors: [("registrar/a".to_owned(), actor)].into(),
            refusals,
        }
    }

    #[test]
    fn only_what_changed_is_an_event() {
        let kinds = |now: &Seen, before: &Seen| {
            let mut events = Vec::new();
            now.differences(before, &mut events);
            events.into_iter().map(|event| (event.kind, event.count)).collect::<Vec<_>>()
        };
        let before = seen("it runs", 3, 0, 0);
        assert_eq!(kinds(&seen("it runs", 3, 0, 0), &before), []);
        assert_eq!(kinds(&seen("it runs", 5, 0, 7), &before), [("block", Some(2)), ("refusals", Some(7))]);
        assert_eq!(kinds(&seen("it restarts", 3, 1, 0), &before), [("state", None), ("actor", None)]);
        assert_eq!(kinds(&Seen::default(), &before), [("state", None)]);
    }
}
