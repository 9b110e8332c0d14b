//! Envelopes that this node has acknowledged and that are in no block yet.
//!
//! Each stays here until a block has it. It is sent to the leader, and sent again when it is known to be lost:
//!
//! - a later leader has committed an entry of its own term: all that survives of its predecessor's is committed, too;
//! - one that was sent behind it, to the same leader, is in a block: leaders keep the order in which envelopes come.
//!
//! If nothing that was sent from here gets into a block for a long time, all is sent again, and may be in the chain twice then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::event::Submission;
use crate::block::Hash;
use crate::crypto::sha256;

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, Waiting>,
    /// Those that are with no leader.
    unsent: BTreeSet<u64>,
    /// Sequences of equal envelopes, the oldest first.
    by_hash: HashMap<Hash, Vec<u64>>,
    next_sequence: u64,
    bytes: usize,
    /// How many envelopes were given to leaders.
    sent: u64,
    /// The last of these that is in a block, and since when.
    newest_ordered: u64,
    progress_tick: u64,
    sent_again: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    submission: Submission,
    hash: Hash,
    sent: Option<Sent>,
}

/// When and to whom an envelope was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    term: u64,
    tick: u64,
    /// Among all that were sent; the first is 1.
    order: u64,
}

impl Outbox {
    /// An empty one; the next envelope's sequence is at least this.
    pub(super) fn new(next_sequence: u64) -> Self {
        Self { next_sequence, ..Self::default() }
    }

    /// Takes in an envelope of before the restart, which was in `term`: the leader of that term may have it, ahead of all that is
    /// sent from now on.
    pub(super) fn add_old(&mut self, sequence: u64, submission: Submission, term: u64) {
        self.add(sequence, submission);
        self.unsent.remove(&sequence);
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            waiting.sent = Some(Sent { term, tick: 0, order: 0 });
        }
    }

    /// Takes in an envelope that has this sequence.
    pub(super) fn add(&mut self, sequence: u64, submission: Submission) {
        let hash = sha256(&[submission.envelope.raw()]);
        self.bytes += submission.envelope.raw().len();
        self.by_hash.entry(hash).or_default().push(sequence);
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.unsent.insert(sequence);
        self.waiting.insert(sequence, Waiting { submission, hash, sent: None });
    }

    /// A block has this envelope. Gives back the sequence of the oldest equal one that waited.
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

    /// Takes an envelope out: a block has it, or it is not valid any more.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Submission> {
        let Waiting { submission, hash, .. } = self.waiting.remove(&sequence)?;
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

    /// Every envelope with a smaller sequence is in a block.
    pub(super) fn below(&self) -> u64 {
        self.waiting.keys().next().copied().unwrap_or(self.next_sequence)
    }

    /// The envelopes that are with no leader, in their order; with the leader of `term` from now on.
    pub(super) fn take_unsent(&mut self, term: u64, tick: u64) -> Vec<Submission> {
        let unsent = std::mem::take(&mut self.unsent);
        let mut taken = Vec::with_capacity(unsent.len());
        for sequence in unsent {
            if let Some(waiting) = self.waiting.get_mut(&sequence) {
                self.sent += 1;
                waiting.sent = Some(Sent { term, tick, order: self.sent });
                taken.push(waiting.submission.clone());
            }
        }
        taken
    }

    /// Finds the envelopes that have to be sent again, as `tick` begins in `term`. `settled`: an entry of that term is committed.
    /// `patience`: so many ticks without progress are taken for a loss.
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

    /// What a leader had did not arrive there, or left it again: it is with no leader.
    pub(super) fn not_sent(&mut self, sequence: u64) {
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            waiting.sent = None;
            self.unsent.insert(sequence);
        }
    }

    /// Envelopes that were found valid under an older configuration than this.
    pub(super) fn judged_before(&self, sequence: crate::channel::ConfigSequence) -> Vec<Submission> {
        let submissions = self.waiting.values().map(|waiting| &waiting.submission);
        submissions.filter(|submission| submission.checked_at < sequence).cloned().collect()
    }

    /// An envelope was found valid again.
    pub(super) fn judged(&mut self, sequence: u64, submission: Submission) {
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            let raw = submission.envelope.raw();
            if raw == waiting.submission.envelope.raw() {
                waiting.submission = submission;
            } else {
                // a config message was made anew: under its new bytes it is sent as another one
                let _ = self.remove(sequence);
                self.add(sequence, submission);
            }
        }
    }

    /// How many envelopes wait, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// How many envelopes were sent again so far.
    pub(super) fn sent_again(&self) -> u64 {
        self.sent_again
    }
}
