//! The leader's part of the chain: it orders envelopes, cuts blocks and proposes them to Raft.

use std::collections::VecDeque;

use fabric_proto::common::{Block, BlockData, BlockHeader, BlockMetadata};
use fabric_proto::raftpb::ConfChange;
use orderer_raft::{ProposeError, Status};
use prost::Message as _;

use super::consenter_set::MembershipStep;
use super::event::{ChainFailed, Effect, EnvelopeOrigin, RevalidationResult, SubmittedEnvelope};
use super::machine::{BlockTip, RaftMachine};
use crate::block::{METADATA_SLOTS, data_hash, header_hash};
use crate::ordering::block_cutter::{BlockCutter, Cut};
use crate::ordering::timer::{BatchTimer, TimerChange};
use crate::types::BlockNumber;

/// Maximum number of bytes of blocks that are proposed and not yet applied. One block is always permitted, whatever its
/// size.
const WINDOW_BYTES: usize = 4 << 20;
/// Maximum number of attempts to transfer leadership before a config message that removes the leader is dropped.
const HAND_OVER_ATTEMPTS: u32 = 5;

/// The state of a leader.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaderState {
    cutter: BlockCutter<SubmittedEnvelope>,
    timer: BatchTimer,
    /// The block that the next block follows. `None` until all earlier entries of the log are applied.
    behind: Option<BlockTip>,
    /// Number and size in bytes of the blocks that are proposed and not yet applied.
    in_flight: VecDeque<(BlockNumber, usize)>,
    in_flight_bytes: usize,
    /// Whether a config block is proposed and not yet written, or the membership change that it leads to is not yet
    /// applied.
    config_in_flight: bool,
    conf_change: Option<PendingConfChange>,
    /// Whether an envelope is being validated. Later envelopes wait in the intake until that ends.
    examining: bool,
    hand_over: Option<LeadershipTransfer>,
    /// Whether Raft has rejected a proposal, as it does during a leadership transfer. Nothing more is proposed before
    /// the next tick: the cause persists until then, and retrying without a pause would loop for ever.
    rejected: bool,
}

/// A membership change that follows from a config block.
#[derive(Clone, Debug)]
struct PendingConfChange {
    change: ConfChange,
    proposed: bool,
}

/// A config message that removes the leader. It is held back until another consenter leads.
#[derive(Clone, Debug)]
struct LeadershipTransfer {
    submission: SubmittedEnvelope,
    attempts: u32,
    /// Number of ticks until the next attempt.
    patience: u64,
}

impl LeaderState {
    pub(super) fn serves(&self) -> bool {
        self.behind.is_some() && !self.config_in_flight
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn may_order(&self) -> bool {
        self.serves()
            && !self.examining
            && self.hand_over.is_none()
            && !self.rejected
            && (self.in_flight.is_empty() || self.in_flight_bytes < WINDOW_BYTES)
    }

    /// Returns the change of the batch timer that follows from the number of pending envelopes, if any.
    fn timer_change(&mut self) -> Option<Effect> {
        self.timer.follow(self.cutter.pending()).map(|change| match change {
            TimerChange::Arm => Effect::ArmTimer,
            TimerChange::Disarm => Effect::DisarmTimer,
        })
    }
}

impl RaftMachine {
    pub(super) fn begin_to_lead(&mut self) -> Result<(), ChainFailed> {
        self.leading = Some(LeaderState::default());
        let voters = self.raft.status()?.voters;
        if let Some(change) = self.members.unfinished(&voters) {
            self.want_change(change);
        }
        Ok(())
    }

    /// Ends the leader's part. Envelopes that are in no proposed block go back to the outbox if they came in here, or
    /// to the intake if another consenter forwarded them, so that the next leader gets them.
    pub(super) fn stop_leading(&mut self) {
        let Some(mut leading) = self.leading.take() else { return };
        let waited = leading.cutter.cut().unwrap_or_default();
        self.effects.extend(leading.timer_change());
        let removal = leading.hand_over.take().map(|hand_over| hand_over.submission);
        let intake = std::mem::take(&mut self.intake);
        for submission in waited.into_iter().chain(removal).chain(intake) {
            match submission.origin {
                EnvelopeOrigin::Local(sequence) => self.outbox.not_sent(sequence),
                EnvelopeOrigin::Consenter(_) => self.intake.push_back(submission),
            }
        }
    }

    /// Records a membership change. Raft has to agree on it before anything else is ordered.
    fn want_change(&mut self, change: ConfChange) {
        self.with_leading(|leading| {
            leading.config_in_flight = true;
            leading.conf_change = Some(PendingConfChange { change, proposed: false });
        });
    }

    /// Proposes the recorded membership change. Waits until all entries of the log are applied, because Raft drops a
    /// change while an unapplied entry may hold another one. Returns whether it was proposed.
    fn propose_change(&mut self) -> Result<bool, ChainFailed> {
        let Some(wanted) = self.leading.as_mut().and_then(|leading| leading.conf_change.as_mut()) else {
            return Ok(false);
        };
        if wanted.proposed || self.raft.status()?.last > self.applied {
            return Ok(false);
        }
        match self.raft.propose_conf_change(&wanted.change) {
            Err(ProposeError::Failed(failed)) => Err(failed.into()),
            Err(ProposeError::NotLeader { .. } | ProposeError::Dropped) => Ok(false),
            Ok(()) => {
                wanted.proposed = true;
                Ok(true)
            }
        }
    }

    /// Orders the envelopes of the intake as far as possible now. Returns whether Raft has new output.
    pub(super) fn lead_on(&mut self) -> Result<bool, ChainFailed> {
        if self.propose_change()? {
            return Ok(true);
        }
        let Some(leading) = &mut self.leading else { return Ok(false) };
        if leading.rejected {
            return Ok(false);
        }
        if leading.behind.is_none() {
            // the log may hold blocks of an earlier leader, and the next block follows them
            if leading.config_in_flight || self.raft.status()?.last > self.applied {
                return Ok(false);
            }
            leading.behind = Some(self.tip);
        }
        let mut proposed = false;
        while self.leading.as_ref().is_some_and(LeaderState::may_order) {
            let Some(submission) = self.intake.pop_front() else { break };
            if submission.is_config || submission.validated_at < self.rules.sequence {
                self.with_leading(|leading| leading.examining = true);
                self.effects.push(Effect::Validate(Box::new(submission)));
                break;
            }
            proposed |= self.order_normal(submission)?;
        }
        Ok(proposed)
    }

    fn with_leading(&mut self, act: impl FnOnce(&mut LeaderState)) {
        if let Some(leading) = &mut self.leading {
            act(leading);
        }
    }

    fn order_normal(&mut self, submission: SubmittedEnvelope) -> Result<bool, ChainFailed> {
        let Some(leading) = &mut self.leading else { return Ok(false) };
        let size_bytes = submission.envelope.size_bytes();
        let batches = match leading.cutter.ordered(submission, size_bytes, self.rules.limits) {
            Cut::Held => vec![],
            Cut::One(batch) | Cut::OneThenHeld(batch) => vec![batch],
            Cut::Two(first, second) => vec![first, second],
        };
        let proposed = self.propose_all(batches)?;
        self.follow_timer();
        Ok(proposed)
    }

    fn follow_timer(&mut self) {
        let change = self.leading.as_mut().and_then(LeaderState::timer_change);
        self.effects.extend(change);
    }

    /// Cuts and proposes the pending batch. Does nothing if the batch was cut after the timer had fired.
    pub(super) fn timer_fired(&mut self) -> Result<(), ChainFailed> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        leading.timer.fired();
        match leading.cutter.cut() {
            Some(batch) => self.propose_all(vec![batch]).map(drop),
            None => Ok(()),
        }
    }

    /// Proposes a block for each batch. Returns whether any was proposed. If Raft rejects one, its envelopes return to
    /// the front of the intake, with all that follow them, including those in the cutter.
    fn propose_all(&mut self, batches: Vec<Vec<SubmittedEnvelope>>) -> Result<bool, ChainFailed> {
        let (mut batches, mut proposed) = (batches.into_iter(), false);
        while let Some(batch) = batches.next() {
            let Some(rejected) = self.propose(batch)? else {
                proposed = true;
                continue;
            };
            let waited = self.leading.as_mut().and_then(|leading| leading.cutter.cut()).unwrap_or_default();
            let back: Vec<SubmittedEnvelope> = rejected.into_iter().chain(batches.flatten()).chain(waited).collect();
            back.into_iter().rev().for_each(|submission| self.intake.push_front(submission));
            return Ok(proposed);
        }
        Ok(proposed)
    }

    /// Proposes a block. Returns the batch if it was not proposed.
    fn propose(&mut self, batch: Vec<SubmittedEnvelope>) -> Result<Option<Vec<SubmittedEnvelope>>, ChainFailed> {
        let Some(leading) = &mut self.leading else { return Ok(Some(batch)) };
        let Some(behind) = leading.behind else { return Ok(Some(batch)) };
        let number = behind.number.next();
        let data = BlockData { data: batch.iter().map(|submission| submission.envelope.raw().clone()).collect() };
        let data_hash = data_hash(data.data.iter().map(AsRef::as_ref));
        let header = BlockHeader {
            number: number.0,
            previous_hash: bytes::Bytes::copy_from_slice(&behind.hash),
            data_hash: bytes::Bytes::copy_from_slice(&data_hash),
        };
        let hash = header_hash(header.number, &header.previous_hash, &header.data_hash);
        // nodes written in Go set their metadata in these slots by index
        let metadata = BlockMetadata { metadata: vec![bytes::Bytes::new(); METADATA_SLOTS] };
        let block = Block { header: Some(header), data: Some(data), metadata: Some(metadata) }.encode_to_vec();
        let bytes = block.len();
        match self.raft.propose(block.into()) {
            Ok(()) => {
                leading.behind = Some(BlockTip { number, hash });
                leading.in_flight.push_back((number, bytes));
                leading.in_flight_bytes += bytes;
                Ok(None)
            }
            Err(ProposeError::Failed(failed)) => Err(failed.into()),
            Err(ProposeError::NotLeader { .. } | ProposeError::Dropped) => {
                // if this node keeps leading, the next block follows all that is in the log
                leading.behind = None;
                leading.rejected = true;
                Ok(Some(batch))
            }
        }
    }

    /// Handles the outcome of a validation.
    pub(super) fn examined(&mut self, examined: RevalidationResult) -> Result<(), ChainFailed> {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.examining) else {
            // the validation was requested in an earlier term: the present leader gets the envelope
            let (RevalidationResult::Valid { submission, .. } | RevalidationResult::Invalid(submission)) = examined;
            if let EnvelopeOrigin::Consenter(_) = submission.origin {
                self.intake.push_front(submission);
            }
            return Ok(());
        };
        leading.examining = false;
        let (submission, consenters) = match examined {
            RevalidationResult::Valid { submission, consenters } => (submission, consenters),
            RevalidationResult::Invalid(submission) => {
                self.drop_from_order(submission, "it is no longer valid under the channel's configuration");
                return Ok(());
            }
        };
        if !leading.serves() || submission.validated_at < self.rules.sequence {
            self.intake.push_front(submission);
            return Ok(());
        }
        if !submission.is_config {
            return self.order_normal(submission).map(drop);
        }
        if let Some(consenters) = consenters {
            let Ok(change) = self.members.change_to(&consenters) else {
                self.drop_from_order(submission, "it changes more than one consenter at a time");
                return Ok(());
            };
            let alone = self.members.len() == 1;
            let of_this_node = match change.step {
                MembershipStep::Remove(id) => id == self.id,
                MembershipStep::Rotate(id) => id == self.id && !alone,
                MembershipStep::Add(_) | MembershipStep::None => false,
            };
            if of_this_node {
                return self.hand_over_before(submission);
            }
        }
        self.order_config(submission)
    }

    fn order_config(&mut self, submission: SubmittedEnvelope) -> Result<(), ChainFailed> {
        let waited = self.leading.as_mut().and_then(|leading| leading.cutter.cut());
        self.propose_all(waited.into_iter().chain([vec![submission]]).collect())?;
        // if it was not proposed, it is back in the intake, and no config block is in flight
        self.with_leading(|leading| leading.config_in_flight |= leading.behind.is_some());
        self.follow_timer();
        Ok(())
    }

    fn drop_from_order(&mut self, submission: SubmittedEnvelope, why: &'static str) {
        if let EnvelopeOrigin::Local(sequence) = submission.origin {
            self.outbox.remove(sequence);
        }
        self.effects.push(Effect::Dropped(Box::new(submission), why));
    }

    /// Holds the message back and starts a leadership transfer. The next leader gets the message before those of the
    /// intake.
    fn hand_over_before(&mut self, submission: SubmittedEnvelope) -> Result<(), ChainFailed> {
        let hand_over = LeadershipTransfer { submission, attempts: 1, patience: self.election_tick };
        self.with_leading(|leading| leading.hand_over = Some(hand_over));
        self.transfer_to_another().map(drop)
    }

    /// Starts a leadership transfer to the active consenter that has the most of the log, if possible one that is not
    /// paused. Returns its ID, or `None` if no other consenter is active.
    pub(super) fn transfer_to_another(&mut self) -> Result<Option<u64>, ChainFailed> {
        let Status { id, peers, voters, .. } = self.raft.status()?;
        // at each election timeout Raft forgets who is active, until the next responses arrive
        let at_work = |peer: &&orderer_raft::Peer| {
            peer.id != id && (peer.active || self.active.get().contains(&peer.id)) && voters.contains(&peer.id)
        };
        // one that is paused may only have as many blocks in flight as it may
        let by_state = |peer: &&orderer_raft::Peer| (peer.active, !peer.paused, peer.matched);
        let best = peers.iter().filter(at_work).max_by_key(by_state).map(|peer| peer.id);
        if let Some(to) = best {
            self.raft.transfer_leadership(to)?;
        }
        Ok(best)
    }

    pub(super) fn tick_of_leader(&mut self) -> Result<(), ChainFailed> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        leading.rejected = false;
        let Some(hand_over) = &mut leading.hand_over else { return Ok(()) };
        hand_over.patience = hand_over.patience.saturating_sub(1);
        if hand_over.patience > 0 {
            return Ok(());
        }
        if hand_over.attempts < HAND_OVER_ATTEMPTS {
            hand_over.attempts += 1;
            hand_over.patience = self.election_tick;
            return self.transfer_to_another().map(drop);
        }
        if let Some(LeadershipTransfer { submission, .. }) = leading.hand_over.take() {
            self.drop_from_order(submission, "it removes the leader, and no other consenter takes over");
        }
        Ok(())
    }

    pub(super) fn block_left_flight(&mut self, number: BlockNumber) {
        let Some(leading) = &mut self.leading else { return };
        while leading.in_flight.front().is_some_and(|(first, _)| *first <= number) {
            let bytes = leading.in_flight.pop_front().map_or(0, |(_, bytes)| bytes);
            leading.in_flight_bytes -= bytes;
        }
    }

    /// Handles that a config block was handed to the writer. The leader continues once Raft has agreed on the
    /// membership change, if the block leads to one.
    pub(super) fn config_left_flight(&mut self, step: Option<MembershipStep>) {
        self.with_leading(|leading| leading.config_in_flight = false);
        if let Some(change) = step.and_then(MembershipStep::conf_change) {
            self.want_change(change);
        }
    }

    pub(super) fn conf_change_applied(&mut self, kind: i32, id: u64) {
        let Some(leading) = &mut self.leading else { return };
        let is_wanted = |wanted: &mut PendingConfChange| wanted.change.r#type == kind && wanted.change.node_id == id;
        if leading.conf_change.take_if(is_wanted).is_some() {
            leading.config_in_flight = false;
        }
    }
}
