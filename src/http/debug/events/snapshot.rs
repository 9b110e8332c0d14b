//! The state of all channels and actors at one poll, and its differences from an earlier one.

use orderer_core::counted::counted;
use std::collections::BTreeMap;

use orderer_actors::NodeContext;
use orderer_actors::channel::ChannelEntry;
use orderer_actors::status::{Activity, HealthLevel, now_ms};
use serde::Serialize;

/// An event; its number is assigned per reader.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    at_ms: u64,
    pub(super) kind: &'static str,
    channel: Option<String>,
    actor: Option<String>,
    text: String,
    level: Option<HealthLevel>,
    height: Option<u64>,
    pub(super) count: Option<u64>,
}

/// The state that one poll read.
#[derive(Default)]
pub(super) struct NodeSnapshot {
    channels: BTreeMap<String, ChannelSnapshotView>,
    actors: BTreeMap<String, ActorSnapshot>,
    refusals: u64,
}

#[derive(PartialEq)]
struct ChannelSnapshotView {
    state: String,
    level: HealthLevel,
    height: u64,
}

struct ActorSnapshot {
    state: String,
    restarts: u64,
    stuck: bool,
}

impl Event {
    /// Reports that a reader missed this number of polls.
    pub(super) fn missed(looks: u64) -> Self {
        let text = format!("the reader was slow: {looks} samples were skipped, their changes are combined");
        Self { count: Some(looks), ..Self::new("missed", text) }
    }

    fn new(kind: &'static str, text: String) -> Self {
        Self { at_ms: now_ms(), kind, channel: None, actor: None, text, level: None, height: None, count: None }
    }
}

impl NodeSnapshot {
    /// Reads the current state: some milliseconds with a thousand channels.
    pub(super) fn of(context: &NodeContext) -> Self {
        let channel = |entry: &ChannelEntry| match entry {
            ChannelEntry::Open(channel) => {
                let state = channel.state();
                let level = HealthLevel::of_channel(&state);
                ChannelSnapshotView { state: state.to_string(), level, height: channel.ledger().height() }
            }
            ChannelEntry::Unavailable(broken) => ChannelSnapshotView {
                state: format!("it cannot be opened: {}", broken.cause),
                level: HealthLevel::Bad,
                height: 0,
            },
        };
        let actors = context.status_board.all().into_iter().map(|(path, cell)| {
            let (report, in_hand) = (cell.report(), cell.current_activity());
            let stuck = in_hand.as_ref().is_some_and(Activity::is_stuck);
            (path, ActorSnapshot { state: report.state, restarts: report.restarts, stuck })
        });
        Self {
            channels: context.directory.entries().iter().map(|(id, entry)| (id.to_string(), channel(entry))).collect(),
            actors: actors.collect(),
            refusals: context.observer.refusals().total(),
        }
    }

    pub(super) fn diff(&self, before: &Self) -> Vec<Event> {
        let mut events = Vec::new();
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
            let text = "it is no longer a channel of this orderer".to_owned();
            events.push(Event { channel: Some(name.clone()), ..Event::new("state", text) });
        }
        for (path, now) in &self.actors {
            let was = before.actors.get(path);
            let event =
                |kind, text, level| Event { actor: Some(path.clone()), level: Some(level), ..Event::new(kind, text) };
            let level = HealthLevel::of_actor(&now.state);
            if was.is_some_and(|was| was.restarts != now.restarts) {
                events.push(event("actor", format!("restarted, for the {}. time", now.restarts), level));
            } else if was.is_none_or(|was| was.state != now.state) {
                events.push(event("actor", now.state.clone(), level));
            }
            match (was.is_some_and(|was| was.stuck), now.stuck) {
                (false, true) => events.push(event("stuck", "it is stuck".to_owned(), HealthLevel::Bad)),
                (true, false) => events.push(event("stuck", "it has resumed".to_owned(), level)),
                _ => {}
            }
        }
        let refused = self.refusals.saturating_sub(before.refusals);
        if refused > 0 {
            let text = format!("{} rejected", counted(refused, "envelope"));
            events.push(Event { count: Some(refused), ..Event::new("refusals", text) });
        }
        events
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn seen(state: &str, height: u64, restarts: u64, refusals: u64) -> NodeSnapshot {
        let channel = ChannelSnapshotView { state: state.to_owned(), level: HealthLevel::Good, height };
        let actor = ActorSnapshot { state: "running".to_owned(), restarts, stuck: false };
        NodeSnapshot {
            channels: [("a".to_owned(), channel)].into(),
            actors: [("registrar/a".to_owned(), actor)].into(),
            refusals,
        }
    }

    #[test]
    fn only_what_changed_is_an_event() {
        let kinds = |now: &NodeSnapshot, before: &NodeSnapshot| {
            now.diff(before).into_iter().map(|event| (event.kind, event.count)).collect::<Vec<_>>()
        };
        let before = seen("it runs", 3, 0, 0);
        assert_eq!(kinds(&seen("it runs", 3, 0, 0), &before), []);
        assert_eq!(kinds(&seen("it runs", 5, 0, 7), &before), [("block", Some(2)), ("refusals", Some(7))]);
        assert_eq!(kinds(&seen("it restarts", 3, 1, 0), &before), [("state", None), ("actor", None)]);
        assert_eq!(kinds(&NodeSnapshot::default(), &before), [("state", None)]);
    }
}
