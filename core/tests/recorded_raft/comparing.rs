//! Compares the messages that the machine sends with the recorded ones.

use std::collections::BTreeSet;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::etcdraft::ClusterMetadata;
use fabric_proto::raftpb::Message;
use orderer_core::ordering::raft::SubmittedEnvelope;

use crate::player::Player;
use crate::script::Item;

/// Maximum number of messages to one node that may be created but not yet sent when a tick passes.
const EARLY: usize = 4;

impl Player<'_> {
    fn node_of(&self, id: u64) -> Option<u64> {
        let consenter = self.machine.as_ref()?.members().get(id)?;
        // the recorded nodes have the ports 25000 + 10 n
        Some(u64::from((consenter.port - 25_000) / 10))
    }

    pub(crate) fn forwards(&mut self, to: u64, submission: &SubmittedEnvelope) -> Result<(), String> {
        let submit = self.script().submits.get(self.submitted).ok_or("it forwards one envelope more")?;
        let recorded = (Some(submit.peer), submit.sequence, &submit.envelope);
        if (self.node_of(to), submission.validated_at.0, submission.envelope.raw()) != recorded {
            return Err(format!("it forwards another envelope, or to another node than {}", submit.peer));
        }
        self.now = self.now.max(submit.at);
        self.submitted += 1;
        self.tally.forwarded += 1;
        Ok(())
    }

    /// Compares a message with the next recorded one. Returns false if there was no stream, or if the message was lost
    /// with it.
    pub(crate) fn sends(&mut self, to: u64, message: &Message, metadata: &Bytes) -> Result<bool, String> {
        let count = self.sent.get(&to).copied().unwrap_or(0);
        let script = self.script();
        let queue = script.sent.get(&to).map_or(&[][..], Vec::as_slice);
        let before = count.checked_sub(1).and_then(|place| queue.get(place));
        let head = queue.get(count);
        let is_same = head.is_some_and(|item| item.message == *message && self.may_tell(item, metadata).is_ok());
        // messages are lost between two streams, before the first and after the last
        let between = head.is_none_or(|item| before.is_none_or(|before| before.stream != item.stream));
        let mut opened = is_same;
        if between && let Some(item) = head.filter(|_| is_same) {
            let opening = script.opened.get(&item.stream).copied().unwrap_or(item.at);
            opened = self.has_reached(opening);
        }
        if let Some(item) = head.filter(|_| is_same && opened) {
            self.now = self.now.max(item.at);
            if let Some(told) = self.may_tell(item, metadata)? {
                self.told_early.insert(to, told);
            } else {
                self.told_early.remove(&to);
            }
            return self.matched(item);
        }
        if between {
            self.tally.lost += 1;
            return Ok(false);
        }
        let recorded = head.map(|item| (item.at, shown(&item.message), item.metadata.clone()));
        Err(format!("it sends {} with {metadata:?}, recorded is {recorded:?}", shown(message)))
    }

    /// Returns whether the current step can have opened a stream at this point of the recording: all messages received
    /// earlier have been processed, and at most one message to each other ID was sent before it, which the same step
    /// sends.
    fn has_reached(&self, opening: usize) -> bool {
        let script = self.script();
        let waits = |&peer: &u64| self.next_received(peer).is_some_and(|item| item.at < opening);
        let is_far = |(id, queue): (&u64, &Vec<Item>)| {
            let next = self.sent.get(id).copied().unwrap_or(0) + 1;
            queue.get(next).is_some_and(|item| item.at < opening)
        };
        !script.received.keys().any(waits) && !script.sent.iter().any(is_far)
    }

    /// Compares the active nodes in a leader's metadata with the recorded ones. Fabric adds them to the message that is
    /// sent next, even if that message was created before the tick that reports them; then the message of that tick has
    /// none. Returns the nodes that were reported early.
    fn may_tell(&self, item: &Item, metadata: &Bytes) -> Result<Option<(BTreeSet<u64>, usize)>, String> {
        let early = self.told_early.get(&item.message.to);
        match (active(metadata), active(&item.metadata), early) {
            (ours, recorded, None) if ours == recorded => Ok(None),
            (None, Some(recorded), None) => Ok(Some((recorded, EARLY))),
            (None, None, Some((told, left))) if *left > 0 => Ok(Some((told.clone(), left - 1))),
            (Some(ours), None, Some((told, _))) if ours == *told => Ok(None),
            (ours, recorded, early) => Err(format!("it tells {ours:?}, recorded is {recorded:?}, before {early:?}")),
        }
    }

    fn matched(&mut self, item: &Item) -> Result<bool, String> {
        let to = item.message.to;
        if self.node_of(to).is_some_and(|node| node != item.peer) {
            return Err(format!("consenter {to} is not node {}", item.peer));
        }
        *self.sent.entry(to).or_default() += 1;
        *self.tally.messages.entry(item.message.r#type().as_str_name()).or_default() += 1;
        Ok(true)
    }
}

/// Returns the active nodes in a leader's metadata as a set, because Fabric sends them in the order of a Go map.
fn active(metadata: &Bytes) -> Option<BTreeSet<u64>> {
    let nodes = ClusterMetadata::decode(metadata.clone()).unwrap().active_nodes;
    (!metadata.is_empty()).then(|| nodes.into_iter().collect())
}

/// Formats a message without the data of its entries.
pub(crate) fn shown(message: &Message) -> String {
    let entries: Vec<_> = message.entries.iter().map(|entry| (entry.index, entry.term)).collect();
    format!(
        "{} {}→{} term {} after {}/{} commit {} reject {} hint {} entries {entries:?}",
        message.r#type().as_str_name(),
        message.from,
        message.to,
        message.term,
        message.index,
        message.log_term,
        message.commit,
        message.reject,
        message.reject_hint,
    )
}
