//! Between raftpb and the messages of the `raft` crate, field by field.

use bytes::Bytes;
use fabric_proto::raftpb;
use fabric_proto::raftpb::MessageType as Wire;
use raft::eraftpb;
use raft::eraftpb::MessageType as Inner;

/// The types that consenters send each other, on either side.
const TYPES: [(Wire, Inner); 10] = [
    (Wire::MsgApp, Inner::MsgAppend),
    (Wire::MsgAppResp, Inner::MsgAppendResponse),
    (Wire::MsgVote, Inner::MsgRequestVote),
    (Wire::MsgVoteResp, Inner::MsgRequestVoteResponse),
    (Wire::MsgSnap, Inner::MsgSnapshot),
    (Wire::MsgHeartbeat, Inner::MsgHeartbeat),
    (Wire::MsgHeartbeatResp, Inner::MsgHeartbeatResponse),
    (Wire::MsgTimeoutNow, Inner::MsgTimeoutNow),
    (Wire::MsgPreVote, Inner::MsgRequestPreVote),
    (Wire::MsgPreVoteResp, Inner::MsgRequestPreVoteResponse),
];

/// The type of a message that another consenter may send.
pub(crate) fn inner_type(wire: i32) -> Option<(Wire, Inner)> {
    TYPES.into_iter().find(|(known, _)| *known as i32 == wire)
}

fn none_if_empty(bytes: Bytes) -> Option<Bytes> {
    if bytes.is_empty() { None } else { Some(bytes) }
}

/// A message of another consenter. What only etcd's storage threads use is left out.
pub(crate) fn message_in(message: raftpb::Message, kind: Inner) -> eraftpb::Message {
    let mut inner = eraftpb::Message::default();
    inner.set_msg_type(kind);
    inner.to = message.to;
    inner.from = message.from;
    inner.term = message.term;
    inner.log_term = message.log_term;
    inner.index = message.index;
    inner.entries = message.entries.into_iter().map(entry_in).collect::<Vec<_>>().into();
    inner.commit = message.commit;
    if let (Some(snapshot), Inner::MsgSnapshot) = (message.snapshot, kind) {
        inner.set_snapshot(snapshot_in(snapshot));
    }
    inner.reject = message.reject;
    inner.reject_hint = message.reject_hint;
    inner.context = message.context.unwrap_or_default();
    inner
}

/// A message to another consenter; `None` for a type that is not sent.
pub(crate) fn message_out(mut message: eraftpb::Message) -> Option<raftpb::Message> {
    let (kind, _) = TYPES.into_iter().find(|(_, inner)| *inner == message.get_msg_type())?;
    // elsewhere the crate tells how far it has committed, and etcd does not
    let commit = if matches!(kind, Wire::MsgApp | Wire::MsgHeartbeat) { message.commit } else { 0 };
    let snapshot = message.snapshot.take().map(snapshot_out);
    Some(raftpb::Message {
        r#type: kind as i32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_out).collect(),
        commit,
        snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: none_if_empty(message.context),
        vote: 0,
        responses: Vec::new(),
    })
}

/// An entry into the crate. Types of entries are the same on both sides.
pub(crate) fn entry_in(entry: raftpb::Entry) -> eraftpb::Entry {
    let mut inner = eraftpb::Entry::default();
    inner.set_entry_type(match raftpb::EntryType::try_from(entry.r#type) {
        Ok(raftpb::EntryType::EntryConfChange) => eraftpb::EntryType::EntryConfChange,
        Ok(raftpb::EntryType::EntryConfChangeV2) => eraftpb::EntryType::EntryConfChangeV2,
        Ok(raftpb::EntryType::EntryNormal) | Err(_) => eraftpb::EntryType::EntryNormal,
    });
    inner.term = entry.term;
    inner.index = entry.index;
    inner.data = entry.data.unwrap_or_default();
    inner
}

/// An entry out of the crate.
pub(crate) fn entry_out(entry: eraftpb::Entry) -> raftpb::Entry {
    let kind = match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => raftpb::EntryType::EntryNormal,
        eraftpb::EntryType::EntryConfChange => raftpb::EntryType::EntryConfChange,
        eraftpb::EntryType::EntryConfChangeV2 => raftpb::EntryType::EntryConfChangeV2,
    };
    raftpb::Entry { r#type: kind as i32, term: entry.term, index: entry.index, data: none_if_empty(entry.data) }
}

pub(crate) fn snapshot_in(snapshot: raftpb::Snapshot) -> eraftpb::Snapshot {
    let mut inner = eraftpb::Snapshot { data: snapshot.data.unwrap_or_default(), ..Default::default() };
    let metadata = inner.mut_metadata();
    metadata.index = snapshot.metadata.index;
    metadata.term = snapshot.metadata.term;
    metadata.set_conf_state(conf_state_in(snapshot.metadata.conf_state));
    inner
}

pub(crate) fn snapshot_out(mut snapshot: eraftpb::Snapshot) -> raftpb::Snapshot {
    let mut metadata = snapshot.take_metadata();
    raftpb::Snapshot {
        data: none_if_empty(snapshot.data),
        metadata: raftpb::SnapshotMetadata {
            conf_state: conf_state_out(metadata.take_conf_state()),
            index: metadata.index,
            term: metadata.term,
        },
    }
}

pub(crate) fn conf_state_in(state: raftpb::ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: state.voters,
        learners: state.learners,
        voters_outgoing: state.voters_outgoing,
        learners_next: state.learners_next,
        auto_leave: state.auto_leave,
        ..Default::default()
    }
}

/// A configuration out of the crate, which keeps voters in no order; Go sends them sorted.
pub(crate) fn conf_state_out(state: eraftpb::ConfState) -> raftpb::ConfState {
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        ids
    };
    raftpb::ConfState {
        voters: sorted(state.voters),
        learners: sorted(state.learners),
        voters_outgoing: sorted(state.voters_outgoing),
        learners_next: sorted(state.learners_next),
        auto_leave: state.auto_leave,
    }
}

pub(crate) fn hard_state_in(state: raftpb::HardState) -> eraftpb::HardState {
    eraftpb::HardState { term: state.term, vote: state.vote, commit: state.commit, ..Default::default() }
}

pub(crate) fn hard_state_out(state: &eraftpb::HardState) -> raftpb::HardState {
    raftpb::HardState { term: state.term, vote: state.vote, commit: state.commit }
}

/// A change of the consenters; `None` for what consenters of etcdraft never propose. The third type means something else on
/// either side.
pub(crate) fn conf_change_in(change: raftpb::ConfChange) -> Option<eraftpb::ConfChange> {
    let kind = match raftpb::ConfChangeType::try_from(change.r#type) {
        Ok(raftpb::ConfChangeType::ConfChangeAddNode) => eraftpb::ConfChangeType::AddNode,
        Ok(raftpb::ConfChangeType::ConfChangeRemoveNode) => eraftpb::ConfChangeType::RemoveNode,
        _ => return None,
    };
    let mut inner = eraftpb::ConfChange { id: change.id, node_id: change.node_id, ..Default::default() };
    inner.set_change_type(kind);
    inner.context = change.context.unwrap_or_default();
    Some(inner)
}
