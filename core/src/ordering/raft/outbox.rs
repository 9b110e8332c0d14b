//! Envelopes that came in on this node and are in no block yet.
//!
//! Each stays here until a block contains it. It is sent to the leader, and sent again when it is known to be lost,
//! which is the case if:
//!
//! - a later leader has committed an entry of its own term: all surviving entries of its predecessor are committed,
//!   too;
//! - an envelope that was sent after it, to the same leader, is in a block: leaders keep the order in which envelopes
//!   come in.
//!
//! If no envelope from here gets into a block for a long time, all are sent again, and may then be in the chain twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::event::SubmittedEnvelope;
use crate::block::Hash;
use crate::crypto::sha256;

/// Envelopes that came in on this node and are in no block yet; see the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, OutboxEntry>,
    /// Sequences of the envelopes that no leader has.
    unsent: BTreeSet<u64>,
    /// Sequences of equal envelopes by hash, the oldest first.
    by_hash: HashMap<Hash, Vec<u64>>,
    next_sequence: u64,
    bytes: usize,
    /// Number of envelopes that were sent to leaders.
    sent: u64,
    /// Send order of the latest one that is in a block; the next field is the tick at which it got there.
    newest_ordered: u64,
    progress_tick: u64,
    sent_again: u64,
}

#[derive(Clone, Debug)]
struct OutboxEntry {
    submission: SubmittedEnvelope,
    hash: Hash,
    sent: Option<SendRecord>,
}

/// Term and tick in which an envelope was sent.
#[derive(Clone, Copy, Debug)]
struct SendRecord {
    term: u64,
    tick: u64,
    /// Position among all sent envelopes; the first has 1.
    order: u64,
}

impl Outbox {
    /// Creates an empty outbox. The sequence of the next envelope is at least `next_sequence`.
    pub(super) fn new(next_sequence: u64) -> Self {
        Self { next_sequence, ..Self::default() }
    }

    /// Adds an envelope from before the restart. The leader of `term` may have it, ahead of all envelopes that are sent
    /// from now on.
    pub(super) fn add_old(&mut self, sequence: u64, submission: SubmittedEnvelope, term: u64) {
        self.add(sequence, submission);
        self.unsent.remove(&sequence);
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            waiting.sent = Some(SendRecord { term, tick: 0, order: 0 });
        }
    }

    /// Adds an envelope with this sequence.
    pub(super) fn add(&mut self, sequence: u64, submission: SubmittedEnvelope) {
        let hash = sha256(&[submission.envelope.raw()]);
        self.bytes += submission.envelope.raw().len();
        self.by_hash.entry(hash).or_default().push(sequence);
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.unsent.insert(sequence);
        self.waiting.insert(sequence, OutboxEntry { submission, hash, sent: None });
    }

    /// Removes an envelope that a block contains. Returns its sequence; if several are equal, that of the oldest.
    pub(super) fn ordered(&mut self, raw: &[u8], tick: u64) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        let sequence = self.by_hash.get(&sha256(&[raw]))?.first().copied()?;
        if let Some(sent) = self.waiting.get(&sequence).and_then(|waiting| waiting.sent) {
            self.newest_ordered = self.newest_ordered.max(sent.order);
            self.progress_tick = tick;
        }
        self.remove(sequence);
        Some(sequence)
    }

    /// Removes an envelope: a block contains it, or it is no longer valid.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<SubmittedEnvelope> {
        let OutboxEntry { submission, hash, .. } = self.waiting.remove(&sequence)?;
        self.unsent.remove(&sequence);
        self.bytes -= submission.envelope.raw().len();
        if let Some(same) = self.by_hash.get_mut(&hash) {
            same.retain(|other| *other != sequence);
            if same.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
        Some(submission)
    }

    /// Removes an envelope unless it was sent to a leader. Returns whether it was removed.
    pub(super) fn withdraw(&mut self, sequence: u64) -> bool {
        self.unsent.contains(&sequence) && self.remove(sequence).is_some()
    }

    /// Returns the lowest pending sequence: every envelope with a lower one is in a block or was dropped.
    pub(super) fn below(&self) -> u64 {
        self.waiting.keys().next().copied().unwrap_or(self.next_sequence)
    }

    /// Returns the unsent envelopes in their order, and records them as sent to the leader of `term`.
    pub(super) fn take_unsent(&mut self, term: u64, tick: u64) -> Vec<SubmittedEnvelope> {
        let unsent = std::mem::take(&mut self.unsent);
        let mut taken = Vec::with_capacity(unsent.len());
        for sequence in unsent {
            if let Some(waiting) = self.waiting.get_mut(&sequence) {
                self.sent += 1;
                waiting.sent = Some(SendRecord { term, tick, order: self.sent });
                taken.push(waiting.submission.clone());
            }
        }
        taken
    }

    /// Marks the lost envelopes as unsent, at `tick` of `term`. `settled`: an entry of that term is applied.
    /// `patience`: number of ticks without progress after which an envelope counts as lost.
    pub(super) fn look_for_lost(&mut self, term: u64, settled: bool, tick: u64, patience: u64) {
        let (newest, progress) = (self.newest_ordered, self.progress_tick);
        for (sequence, waiting) in &mut self.waiting {
            let Some(sent) = waiting.sent else { continue };
            let overtaken = sent.order < newest;
            let in_vain = tick >= sent.tick.max(progress).saturating_add(patience);
            let lost = if sent.term < term { settled } else { overtaken || in_vain };
            if lost {
                waiting.sent = None;
                self.unsent.insert(*sequence);
                self.sent_again += 1;
            }
        }
    }

    /// Marks an envelope as unsent: it did not reach the leader, or the leader dropped it without a proposal.
    pub(super) fn not_sent(&mut self, sequence: u64) {
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            waiting.sent = None;
            self.unsent.insert(sequence);
        }
    }

    /// Returns the envelopes that were validated under an older configuration than this.
    pub(super) fn judged_before(&self, sequence: crate::types::ConfigSequence) -> Vec<SubmittedEnvelope> {
        let submissions = self.waiting.values().map(|waiting| &waiting.submission);
        submissions.filter(|submission| submission.validated_at < sequence).cloned().collect()
    }

    /// Replaces an envelope by the outcome of its revalidation.
    pub(super) fn judged(&mut self, sequence: u64, submission: SubmittedEnvelope) {
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            let raw = submission.envelope.raw();
            if raw == waiting.submission.envelope.raw() {
                waiting.submission = submission;
            } else {
                // a config message was rebuilt: with its new bytes it is sent as a different envelope
                let _ = self.remove(sequence);
                self.add(sequence, submission);
            }
        }
    }

    /// Returns the number of pending envelopes and their total size in bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// Returns the number of times that an envelope had to be sent again.
    pub(super) fn sent_again(&self) -> u64 {
        self.sent_again
    }
}
