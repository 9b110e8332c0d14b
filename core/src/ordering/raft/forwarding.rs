//! The way of an envelope to the leader: through the outbox, to this node's own intake or to another consenter.

use super::acknowledge::EnvelopeStage;
use super::event::{Effect, EnvelopeOrigin, SubmittedEnvelope};
use super::machine::RaftMachine;

/// If no envelope that came in here gets into a block for this number of election timeouts, all are sent again.
const PATIENCE_ELECTIONS: u64 = 6;

impl RaftMachine {
    pub(super) fn order(&mut self, submission: SubmittedEnvelope) {
        match submission.origin {
            // it moves to the intake, or is forwarded, with all other unsent envelopes
            EnvelopeOrigin::Local(sequence) => self.outbox.add(sequence, submission),
            EnvelopeOrigin::Consenter(_) => self.intake.push_back(submission),
        }
    }

    /// Removes an envelope that came in here and that no leader has. Returns whether there was one.
    pub fn withdraw(&mut self, sequence: u64) -> bool {
        self.outbox.withdraw(sequence)
    }

    /// Acknowledges the envelopes that have reached `stage`, if that stage is the one that acknowledges.
    pub(super) fn has_come_to(&mut self, stage: EnvelopeStage, sequences: Vec<u64>) {
        if self.acknowledge.is_due(stage) && !sequences.is_empty() {
            self.effects.push(Effect::Acknowledge(sequences));
        }
    }

    /// Returns an envelope that did not reach its leader to the outbox or the intake. It is sent again at the next tick
    /// at the earliest, because the connection may be blocked, and not before a message from the leader has arrived.
    pub(super) fn not_forwarded(&mut self, submission: SubmittedEnvelope) {
        self.forward_again = self.ticks + 1;
        self.hears_leader = false;
        match submission.origin {
            EnvelopeOrigin::Local(sequence) => self.outbox.not_sent(sequence),
            EnvelopeOrigin::Consenter(_) => self.intake.push_front(submission),
        }
    }

    pub(super) fn on_revalidated(&mut self, sequence: u64, valid: Option<SubmittedEnvelope>) {
        match valid {
            Some(submission) => self.outbox.judged(sequence, submission),
            None => {
                if let Some(submission) = self.outbox.remove(sequence) {
                    self.effects.push(Effect::Dropped(
                        Box::new(submission),
                        "it is no longer valid under the channel's configuration",
                    ));
                }
            }
        }
    }

    /// Sends the unsent envelopes to the leader: to this node's own intake, or to another consenter.
    pub(super) fn send_due(&mut self) {
        let Some(leader) = self.leader else { return };
        if leader != self.id && (self.ticks < self.forward_again || !self.hears_leader) {
            return;
        }
        if std::mem::take(&mut self.look_for_lost) {
            let settled = self.settled_term >= self.term;
            let patience = PATIENCE_ELECTIONS * self.election_tick;
            self.outbox.look_for_lost(self.term, settled, self.ticks, patience);
        }
        let mut taken_in = Vec::new();
        for submission in self.outbox.take_unsent(self.term, self.ticks) {
            if leader == self.id {
                if let EnvelopeOrigin::Local(sequence) = submission.origin
                    && self.acknowledge.is_due(EnvelopeStage::WithLeader)
                {
                    taken_in.push(sequence);
                }
                self.intake.push_back(submission);
            } else {
                self.effects.push(Effect::Forward { to: leader, submission: Box::new(submission) });
            }
        }
        self.has_come_to(EnvelopeStage::WithLeader, taken_in);
        if leader != self.id {
            let forward = |submission| Effect::Forward { to: leader, submission: Box::new(submission) };
            self.effects.extend(self.intake.drain(..).map(forward));
        }
    }
}
