//! `/debug/warnings`: every issue that needs an operator, with its count and action; the first thing to read on call.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::channel::{Channel, ChannelEntry, ChannelState};
use orderer_actors::status::{Activity, HealthLevel, now_ms};
use orderer_cluster::{ConnectionState, DestinationStatus};
use orderer_core::own;
use orderer_hsm::Away;
use serde::Serialize;

use super::channels::{LEADERLESS_MS, level_of};
use super::{DebugApi, Shared};
use crate::disk_monitor;
use crate::http::response::{ApiError, json};
use orderer_core::counted::counted;

/// Milliseconds after which a channel with pending messages has failed to cut a block; usually it takes seconds.
const NOT_CUT_MS: u64 = 60_000;
/// Milliseconds after which a client that has not accepted a block is slow.
const SLOW_MS: u64 = 10_000;
/// Estimated hours until retention deletes the last consumed record below which an operator has to act.
const HOURS_FEW: f64 = 48.0;
/// Percentage of the gate's capacity in use from which clients wait.
const GATE_FULL_PERCENT: usize = 95;
/// Consecutive failed attempts after which another orderer is not just starting.
const FAILURES_MANY: u32 = 4;
/// Action for the operator of a solo channel whose configuration names more than one orderer.
const SEVERAL_ORDERERS_ACTION: &str = "each orderer that serves such a channel creates a separate chain: let one orderer serve it, and \
     remove the other addresses from the configuration";
/// Maximum number of names in a warning.
const NAMED_MAX: usize = 20;

#[derive(Serialize)]
struct WarningsView {
    now_ms: u64,
    warnings: Vec<Warning>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Warning {
    level: HealthLevel,
    text: String,
    count: usize,
    action: Option<&'static str>,
    about: Vec<String>,
}

pub(super) async fn warnings(State(debug): Shared) -> Result<Response, ApiError> {
    let of_thread = Arc::clone(&debug);
    // parses certificates
    let found = debug.run_blocking(move || find_warnings(&of_thread));
    let warnings = found.await?;
    Ok(json(StatusCode::OK, &WarningsView { now_ms: now_ms(), warnings }))
}

/// Returns all warnings, the most severe first.
fn find_warnings(debug: &DebugApi) -> Vec<Warning> {
    let mut warnings = of_channels(debug);
    warnings.extend(of_token(debug));
    warnings.extend(of_disk(debug));
    warnings.extend(of_actors(debug));
    warnings.extend(of_streams(debug));
    warnings.extend(of_orderers(debug));
    warnings.extend(of_certificates(debug));
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.level));
    warnings
}

/// Collects the names that one warning is about.
struct Group {
    level: HealthLevel,
    action: Option<&'static str>,
    about: Vec<String>,
}

impl Group {
    fn new(level: HealthLevel, action: &'static str) -> Self {
        Self { level, action: Some(action), about: Vec::new() }
    }

    /// Builds the warning, if there are any names; `one` and `many` complete the sentence for one or several of them.
    fn say(mut self, one: &str, many: &str) -> Option<Warning> {
        let count = self.about.len();
        if count == 0 {
            return None;
        }
        self.about.truncate(NAMED_MAX);
        let text = if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
        Some(Warning { level: self.level, text, count, action: self.action, about: self.about })
    }
}

fn of_channels(debug: &DebugApi) -> Vec<Warning> {
    let mut failed = Group::new(HealthLevel::Bad, "follow the action of each channel, then restart it");
    let mut restarting = Group::new(HealthLevel::Busy, "no action yet; if it repeats, the channel states the cause");
    let mut retrying = Group::new(
        HealthLevel::Bad,
        "check the Kafka brokers; the channels continue by themselves when the brokers are available",
    );
    let mut waiting =
        Group::new(HealthLevel::Bad, "check the token; the channels continue by themselves when it signs again");
    let mut leaderless = Group::new(
        HealthLevel::Bad,
        "start the orderers that are down, and repair the connections between the consenters; blocks are cut when more than half of \
         them are connected",
    );
    let mut fewer = Group::new(
        HealthLevel::Busy,
        "start the orderers that are down, and repair the connections to them; no block is cut when half of the consenters are missing",
    );
    let mut not_cut = Group::new(HealthLevel::Bad, "check the disk, and whether an actor of the channel is stuck");
    let mut full = Group::new(
        HealthLevel::Busy,
        "check the disk and the brokers: they are slower than the incoming envelopes, and clients wait",
    );
    let mut topic = Group::new(HealthLevel::Bad, "check the brokers of the topic");
    let mut forgets =
        Group::new(HealthLevel::Bad, "raise the topic's retention, or start the orderers that are behind");
    let mut several = Group::new(HealthLevel::Busy, SEVERAL_ORDERERS_ACTION);
    let mut envelopes = 0;
    for (id, entry) in &*debug.context.directory.entries() {
        let name = id.to_string();
        let ChannelEntry::Open(channel) = entry else {
            failed.about.push(name);
            continue;
        };
        match channel.state() {
            ChannelState::Failed { .. } => failed.about.push(name.clone()),
            ChannelState::Restarting { .. } => restarting.about.push(name.clone()),
            ChannelState::Retrying { .. } => retrying.about.push(name.clone()),
            ChannelState::AwaitingKey { .. } => waiting.about.push(name.clone()),
            ChannelState::Electing if level_of(&channel.state(), channel.state_since_ms()) == HealthLevel::Bad => {
                leaderless.about.push(name.clone());
            }
            _ => {}
        }
        if let Some(pending) = waits_for_its_block(channel) {
            envelopes += pending;
            not_cut.about.push(name.clone());
        }
        if lacks_consenters(channel) {
            fewer.about.push(name.clone());
        }
        if own::other_orderers_of_solo(&channel.snapshot()).is_some() {
            several.about.push(name.clone());
        }
        if channel.gate().bytes_in_flight() * 100 >= channel.gate().capacity_bytes() * GATE_FULL_PERCENT {
            full.about.push(name.clone());
        }
        if let Some(health) = channel.topic_health() {
            if health.trouble.is_some() {
                topic.about.push(name.clone());
            }
            if health.hours_left.is_some_and(|hours| hours < HOURS_FEW) {
                forgets.about.push(name);
            }
        }
    }
    let pending = format!("with {} pending", counted(envelopes, "envelope"));
    let warnings = [
        failed.say("channel has failed", "channels have failed"),
        retrying.say("channel has no working Kafka cluster", "channels have no working Kafka clusters"),
        leaderless.say(
            "channel has had no Raft leader for more than 30 s",
            "channels have had no Raft leader for more than 30 s",
        ),
        waiting.say("channel waits for the signing key", "channels wait for the signing key"),
        not_cut.say(
            &format!("channel has not cut a block for a minute {pending}"),
            &format!("channels have not cut a block for a minute {pending}"),
        ),
        topic.say("channel's topic has a problem", "channels' topics have problems"),
        forgets.say(
            "channel's topic will soon have deleted all consumed records",
            "channels' topics will soon have deleted all consumed records",
        ),
        restarting.say(
            "channel's chain has failed and is being restarted",
            "channels' chains have failed and are being restarted",
        ),
        fewer.say(
            "channel has consenters that do not respond to its leader",
            "channels have consenters that do not respond to their leaders",
        ),
        full.say("channel has no capacity for more envelopes", "channels have no capacity for more envelopes"),
        several.say(
            "channel is of type solo, and its configuration names several orderers",
            "channels are of type solo, and their configurations name several orderers",
        ),
    ];
    warnings.into_iter().flatten().collect()
}

/// Returns whether consenters of a Raft channel are missing. A new leader gets some time to hear from all of them.
fn lacks_consenters(channel: &Channel) -> bool {
    let settled = now_ms().saturating_sub(channel.state_since_ms()) > LEADERLESS_MS;
    let shown = channel.observer().raft().shown();
    settled && shown.is_some_and(|raft| raft.active_nodes > 0 && raft.active_nodes < raft.cluster_size)
}

/// Returns the number of pending envelopes, if the channel should have cut them into a block long ago.
fn waits_for_its_block(channel: &Channel) -> Option<usize> {
    let (envelopes, _) = channel.observer().waiting();
    let timeout = channel.snapshot().orderer().batch_timeout;
    let patience = NOT_CUT_MS.max(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).saturating_mul(2));
    let last = channel.gauges().last_written_ms().unwrap_or(0).max(channel.state_since_ms());
    let late =
        channel.gauges().timer_left_ms().is_none_or(|left| left == 0) && now_ms().saturating_sub(last) > patience;
    (envelopes > 0 && late).then_some(envelopes)
}

fn of_token(debug: &DebugApi) -> Option<Warning> {
    let status = debug.context.token.as_ref()?.status();
    let Away { cause, action, attempts, gave_up } = status.away?;
    let tried = if gave_up { "it is not tried again".to_owned() } else { counted(attempts as usize, "attempt") };
    Some(Warning {
        level: HealthLevel::Bad,
        text: format!(
            "the token with the signing key has not signed for {} s ({tried}): {cause}",
            status.since.as_secs()
        ),
        count: 1,
        action: Some(action),
        about: vec![status.label],
    })
}

fn of_disk(debug: &DebugApi) -> Option<Warning> {
    // errors are reported where ledgers are written
    let (room, level) = debug.disk.read_space().ok().filter(|(_, level)| *level > HealthLevel::Good)?;
    Some(Warning {
        level,
        text: format!("the disk of the ledgers is nearly full: {} MiB are free", room.free_mib()),
        count: 1,
        action: Some(disk_monitor::ACTION),
        about: vec![debug.disk.folder.display().to_string()],
    })
}

fn of_actors(debug: &DebugApi) -> Vec<Warning> {
    let mut stuck = Group::new(HealthLevel::Bad, "check the disk; restart the orderer if an actor stays stuck");
    for (path, cell) in debug.context.status_board.all() {
        if cell.current_activity().as_ref().is_some_and(Activity::is_stuck) {
            stuck.about.push(path);
        }
    }
    let mut threads = Group::new(HealthLevel::Bad, "find the stuck actor; restart the orderer if it stays stuck");
    for pulse in debug.context.status_board.heartbeats().iter().filter(|pulse| pulse.stuck) {
        threads.about.push(format!("arbiter {}", pulse.index));
    }
    let warnings = [
        stuck.say("actor is stuck", "actors are stuck"),
        threads.say("thread of actors does not respond", "threads of actors do not respond"),
    ];
    warnings.into_iter().flatten().collect()
}

fn of_streams(debug: &DebugApi) -> Option<Warning> {
    let mut slow =
        Group::new(HealthLevel::Busy, "check these clients and the network to them; other clients are not affected");
    for stream in debug.context.observer.streams().all(|channel| debug.context.directory.height_of(channel)) {
        if stream.blocked_now_ms.is_some_and(|ms| ms >= SLOW_MS) {
            let who = stream.subject.zip(stream.msp_id).map(|(subject, msp)| format!("{subject} of {msp} at "));
            let (who, channel) = (who.unwrap_or_default(), stream.channel.unwrap_or_default());
            slow.about.push(format!("{who}{} ({channel})", stream.peer));
        }
    }
    slow.say(
        "subscriber has not accepted a block for more than 10 s",
        "subscribers have not accepted a block for more than 10 s",
    )
}

fn of_orderers(debug: &DebugApi) -> Vec<Warning> {
    let mut lost = Group::new(
        HealthLevel::Busy,
        "check this orderer, the network to it, and the certificates on both sides; the node retries the connection by itself",
    );
    let Some(cluster) = &debug.cluster else { return Vec::new() };
    for DestinationStatus { endpoint, connection, last_error } in cluster.network.destinations() {
        if matches!(connection, ConnectionState::Waiting { failures, .. } if failures >= FAILURES_MANY) {
            let why = last_error.map(|error| format!(" ({})", error.text)).unwrap_or_default();
            lost.about.push(format!("{endpoint}{why}"));
        }
    }
    let mut unknown =
        Group::new(HealthLevel::Bad, "update the channel's configuration with the consenter's certificate");
    for (channel, peers) in cluster.network.channels() {
        let impossible = peers.iter().filter(|peer| peer.connection == ConnectionState::Impossible);
        unknown.about.extend(impossible.map(|peer| format!("{} of {channel}", peer.endpoint)));
    }
    let warnings = [
        lost.say("orderer cannot be reached", "orderers cannot be reached"),
        unknown.say("consenter's server certificate cannot be read", "consenters' server certificates cannot be read"),
    ];
    warnings.into_iter().flatten().collect()
}

fn of_certificates(debug: &DebugApi) -> Vec<Warning> {
    let mut expired = Group::new(HealthLevel::Bad, "replace the certificates, or update the channels' configuration");
    let mut few = Group::new(HealthLevel::Bad, "replace the certificates, or update the channels' configuration");
    let mut soon = Group::new(HealthLevel::Busy, "renew them");
    let mut pending = Group::new(
        HealthLevel::Busy,
        "name it in the consenters of each channel by a config update; the node uses it when no channel names the previous one",
    );
    for certificate in debug.certificates.all(&debug.context) {
        if certificate.pending {
            pending.about.push(certificate.name());
        }
        let group = match certificate.level {
            HealthLevel::Good => continue,
            HealthLevel::Bad if certificate.days_left < 0 => &mut expired,
            HealthLevel::Bad => &mut few,
            HealthLevel::Busy => &mut soon,
        };
        group.about.push(certificate.name());
    }
    let warnings = [
        expired.say("certificate has expired", "certificates have expired"),
        few.say("certificate expires within a week", "certificates expire within a week"),
        pending.say(
            "new certificate is not used yet: channels name the previous one as this consenter's",
            "new certificates are not used yet: channels name the previous ones as this consenter's",
        ),
        soon.say("certificate expires within 30 days", "certificates expire within 30 days"),
    ];
    warnings.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_and_names_what_it_is_about() {
        let mut group = Group::new(HealthLevel::Bad, "do");
        assert_eq!(Group::new(HealthLevel::Bad, "do").say("channel has", "channels have"), None);
        group.about.push("a".to_owned());
        let one = Group { about: group.about.clone(), ..Group::new(HealthLevel::Bad, "do") };
        assert_eq!(one.say("channel has failed", "channels have failed").unwrap().text, "1 channel has failed");
        group.about.extend((0..30).map(|n| n.to_string()));
        let many = group.say("channel has failed", "channels have failed").unwrap();
        assert_eq!((many.text.as_str(), many.count, many.about.len()), ("31 channels have failed", 31, NAMED_MAX));
    }
}
