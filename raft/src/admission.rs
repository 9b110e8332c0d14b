//! Decides which messages a machine rejects, before any state changes.

use fabric_proto::raftpb;
use fabric_proto::raftpb::MessageType;

use crate::core::Core;
use crate::error::{MachineFailed, StepError};
use crate::types::{Config, RestoredLog, Role};

/// Exclusive upper bound of terms and indexes from other nodes, so that sums of them do not overflow.
const LIMIT: u64 = 1 << 62;

/// The treatment of a message that is not rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// The message is accepted.
    Taken,
    /// The message is a response from a node that is not a consenter, and is ignored.
    FromStranger,
}

/// Whether a membership change is of a kind that etcdraft makes.
pub(crate) fn adds_or_removes(change: &raftpb::ConfChange) -> bool {
    matches!(
        raftpb::ConfChangeType::try_from(change.r#type),
        Ok(raftpb::ConfChangeType::ConfChangeAddNode | raftpb::ConfChangeType::ConfChangeRemoveNode)
    )
}

fn has_only_voters(state: &raftpb::ConfState) -> bool {
    state.learners.is_empty() && state.voters_outgoing.is_empty() && state.learners_next.is_empty()
}

/// Checks the configuration and the state on disk, and that they do not contradict each other.
pub(crate) fn check(config: &Config, log: &RestoredLog) -> Result<(), MachineFailed> {
    if config.id == 0 {
        return Err(MachineFailed::new("a node's ID is not zero"));
    }
    if config.heartbeat_tick == 0 || config.election_tick <= config.heartbeat_tick {
        return Err(MachineFailed::new("heartbeats are at least a tick apart, and elections further than heartbeats"));
    }
    if config.max_size_per_msg == 0 || config.max_inflight_msgs == 0 {
        return Err(MachineFailed::new("messages, or how many of them may be unanswered, are limited to nothing"));
    }
    if !has_only_voters(&log.conf_state) {
        return Err(MachineFailed::new("the consenters in the log are not just voters"));
    }
    let mut last = log.snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.metadata.index, snapshot.metadata.term));
    let first = last.0;
    if first >= LIMIT || log.hard_state.term >= LIMIT {
        return Err(MachineFailed::new("the log's numbers are beyond what a log reaches"));
    }
    for entry in &log.entries {
        if entry.index != last.0 + 1 || entry.term < last.1 {
            return Err(MachineFailed::new(format!(
                "entry {} of term {} in the log follows entry {} of term {}",
                entry.index, entry.term, last.0, last.1
            )));
        }
        last = (entry.index, entry.term);
    }
    let commit = log.hard_state.commit.max(first);
    if commit > last.0 {
        return Err(MachineFailed::new(format!("entry {commit} was committed, and the log ends at {}", last.0)));
    }
    if log.applied < first || log.applied > commit {
        return Err(MachineFailed::new(format!(
            "entry {} is applied, which is not between the snapshot, {first}, and what was committed, {commit}",
            log.applied
        )));
    }
    Ok(())
}

/// Decides whether a message is accepted.
pub(crate) fn admit(core: &Core, message: &raftpb::Message) -> Result<Admitted, StepError> {
    let id = core.id;
    if message.to != id {
        return Err(StepError::NotForUs { to: message.to, id });
    }
    let kind = MessageType::try_from(message.r#type).map_err(|_| StepError::Local(message.r#type))?;
    let answers = match kind {
        MessageType::MsgApp
        | MessageType::MsgVote
        | MessageType::MsgPreVote
        | MessageType::MsgSnap
        | MessageType::MsgHeartbeat
        | MessageType::MsgTimeoutNow => false,
        MessageType::MsgAppResp
        | MessageType::MsgVoteResp
        | MessageType::MsgPreVoteResp
        | MessageType::MsgHeartbeatResp => true,
        _ => return Err(StepError::Local(message.r#type)),
    };
    if message.from == 0 || message.from == id {
        return Err(StepError::Malformed("it comes from no other node"));
    }
    if message.term == 0 {
        return Err(StepError::Malformed("it has no term"));
    }
    let numbers = [message.term, message.log_term, message.index, message.commit, message.reject_hint];
    if numbers.into_iter().any(|number| number >= LIMIT) {
        return Err(StepError::Malformed("its numbers are beyond what a log reaches"));
    }
    if answers && !core.peers.contains_key(&message.from) {
        return Ok(Admitted::FromStranger);
    }
    let last = core.log.last().index;
    let current = message.term >= core.term;
    match kind {
        MessageType::MsgApp => check_entries(core, message, current)?,
        MessageType::MsgHeartbeat if current && message.commit > last => {
            return Err(StepError::LogLost { commit: message.commit, last });
        }
        MessageType::MsgSnap => check_snapshot(message)?,
        // a former leader that lost entries after sending them may get such responses as a follower
        MessageType::MsgAppResp
            if core.role == Role::Leader && message.term == core.term && !message.reject && message.index > last =>
        {
            return Err(StepError::Malformed("it acknowledges entries that were not sent"));
        }
        _ => {}
    }
    Ok(Admitted::Taken)
}

fn check_entries(core: &Core, message: &raftpb::Message, current: bool) -> Result<(), StepError> {
    let mut before = (message.index, message.log_term);
    for entry in &message.entries {
        if entry.index != before.0 + 1 || entry.term < before.1 || entry.term > message.term {
            return Err(StepError::Malformed("its entries are in no order"));
        }
        before = (entry.index, entry.term);
        if current && entry.index <= core.log.committed() {
            // compacted entries are not compared
            let here = core.log.term(entry.index).unwrap_or(entry.term);
            if here != entry.term {
                return Err(StepError::Fork { index: entry.index, here, there: entry.term });
            }
        }
    }
    Ok(())
}

fn check_snapshot(message: &raftpb::Message) -> Result<(), StepError> {
    let Some(snapshot) = &message.snapshot else { return Err(StepError::Malformed("its snapshot is missing")) };
    let metadata = &snapshot.metadata;
    if metadata.index == 0 || metadata.index >= LIMIT || metadata.term == 0 || metadata.term > message.term {
        return Err(StepError::Malformed("its snapshot is of no place that a log of that term has"));
    }
    if metadata.conf_state.voters.is_empty() || !has_only_voters(&metadata.conf_state) {
        return Err(StepError::Malformed("its snapshot has no consenters, or such as do not vote"));
    }
    Ok(())
}
