//! Turns committed entries into blocks.

use bytes::Bytes;
use fabric_proto::common::Block;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, Entry, EntryType, Snapshot};
use prost::Message as _;

use super::acknowledge::EnvelopeStage;
use super::consensus_update::names_consensus;
use super::consenter_set::{ConsenterSet, MembershipStep};
use super::event::{ChainFailed, Effect, NewBlock, OrderingConfig};
use super::machine::{BlockTip, RaftMachine};
use crate::block::header_hash;
use crate::envelope::{self, SignedEnvelope};
use crate::processing::{MessageClass, classify};
use crate::types::BlockNumber;

/// The reason why no entry is applied at present.
#[derive(Clone, Debug)]
pub(super) enum ApplyPause {
    /// The effect of the next block's config message is being determined.
    Applying(CommittedBlock),
    /// Blocks up to this one are being pulled from other orderers.
    CatchingUp {
        number: BlockNumber,
        /// Index of the snapshot that stands for the block; zero if there is none.
        index: u64,
    },
}

/// A committed block.
#[derive(Clone, Debug)]
pub(super) struct CommittedBlock {
    index: u64,
    tip: BlockTip,
    envelopes: Vec<SignedEnvelope>,
    data: Bytes,
}

impl RaftMachine {
    /// Applies the next committed entry. Returns false if there is none, or applying is paused.
    pub(super) fn apply_next(&mut self) -> Result<bool, ChainFailed> {
        if self.pause.is_some() {
            return Ok(false);
        }
        let Some(entry) = self.to_apply.pop_front() else { return Ok(false) };
        let index = entry.index;
        if entry.term > self.settled_term {
            self.settled_term = entry.term;
            self.look_for_lost = true;
        }
        let data = entry.data.clone().unwrap_or_default();
        if entry.r#type == EntryType::EntryConfChange as i32 {
            self.apply_conf_change(&entry)?;
        } else if !data.is_empty() && index > self.written_index {
            self.apply_block(index, data)?;
        }
        if self.pause.is_none() {
            self.applied_to(index)?;
        }
        Ok(true)
    }

    fn applied_to(&mut self, index: u64) -> Result<(), ChainFailed> {
        self.applied = self.applied.max(index);
        Ok(self.raft.applied(index)?)
    }

    fn apply_conf_change(&mut self, entry: &Entry) -> Result<(), ChainFailed> {
        let no_change =
            |cause: prost::DecodeError| ChainFailed::NoBlock { index: entry.index, cause: cause.to_string() };
        let change = ConfChange::decode(entry.data.clone().unwrap_or_default()).map_err(no_change)?;
        let (kind, id) = (change.r#type, change.node_id);
        self.raft.apply_conf_change(&change)?;
        let removes = kind == ConfChangeType::ConfChangeRemoveNode as i32;
        self.conf_change_applied(kind, id);
        if removes && id == self.id {
            self.effects.push(Effect::Removed);
        } else {
            self.effects.push(Effect::Connect(self.members.clone()));
        }
        Ok(())
    }

    fn apply_block(&mut self, index: u64, data: Bytes) -> Result<(), ChainFailed> {
        let Some(decided) = self.read_block(index, data)? else { return Ok(()) };
        if is_config(&decided.envelopes) {
            let envelope = decided.envelopes[0].clone();
            self.effects.push(Effect::Apply { number: decided.tip.number, envelope });
            self.pause = Some(ApplyPause::Applying(decided));
            return Ok(());
        }
        self.metadata_index = index;
        let block = self.write(decided, self.members.metadata(index));
        self.effects.push(Effect::WriteBlock(block));
        Ok(())
    }

    /// Parses the block in an entry. Returns `None` if the ledger has it already.
    fn read_block(&self, index: u64, data: Bytes) -> Result<Option<CommittedBlock>, ChainFailed> {
        let no_block = |cause: String| ChainFailed::NoBlock { index, cause };
        let Block { header, data: block_data, .. } =
            Block::decode(data.clone()).map_err(|e| no_block(e.to_string()))?;
        let header = header.ok_or_else(|| no_block("its header is missing".to_owned()))?;
        let (number, next) = (BlockNumber(header.number), self.tip.number.next());
        if number < next {
            return Ok(None);
        }
        if number > next {
            return Err(ChainFailed::Gap { index, found: number, expected: next });
        }
        if header.previous_hash != self.tip.hash[..] {
            return Err(ChainFailed::Fork { index, number, before: self.tip.number });
        }
        let envelopes = block_data.unwrap_or_default().data.into_iter().map(SignedEnvelope::parse);
        let envelopes: Vec<_> = envelopes.collect::<Result<_, _>>().map_err(|e| no_block(e.to_string()))?;
        if envelopes.is_empty() {
            return Err(no_block("it has no envelopes".to_owned()));
        }
        let hash = header_hash(header.number, &header.previous_hash, &header.data_hash);
        Ok(Some(CommittedBlock { index, tip: BlockTip { number, hash }, envelopes, data }))
    }

    /// Makes a committed block the newest one, and returns it for the writer.
    fn write(&mut self, decided: CommittedBlock, metadata: Bytes) -> NewBlock {
        let CommittedBlock { index, tip, envelopes, data } = decided;
        self.tip = tip;
        self.written_index = index;
        self.block_left_flight(tip.number);
        let tick = self.ticks;
        let mut ordered = Vec::new();
        for envelope in &envelopes {
            ordered.extend(self.outbox.ordered(envelope.raw(), tick));
        }
        self.since_snapshot += data.len() as u64;
        if self.since_snapshot >= self.snapshot_interval() {
            self.since_snapshot = 0;
            self.want_snapshot(tip.number, index, data);
        }
        if self.acknowledge.is_due(EnvelopeStage::InBlock) {
            self.has_come_to(EnvelopeStage::InBlock, ordered.clone());
        }
        let pending_below = self.outbox.below();
        NewBlock { number: tip.number, header_hash: tip.hash, envelopes, metadata, pending_below, ordered }
    }

    /// Handles that the config message of the next block was applied.
    pub(super) fn config_applied(&mut self, rules: Option<OrderingConfig>) -> Result<(), ChainFailed> {
        let decided = match self.pause.take() {
            Some(ApplyPause::Applying(decided)) => decided,
            other => {
                self.pause = other;
                return Ok(());
            }
        };
        let index = decided.index;
        let mut step = None;
        if let Some(rules) = rules {
            let change = self.members.change_to(&rules.consenters)?;
            self.members = change.members;
            step = Some(change.step);
            self.rules = rules;
        }
        // a block that writes the consensus type has the index of the block before it, as in Fabric
        if !decided.envelopes.first().is_some_and(names_consensus) {
            self.metadata_index = index;
        }
        let block = self.write(decided, self.members.metadata(self.metadata_index));
        self.effects.push(Effect::WriteConfigBlock(block));
        self.config_left_flight(step);
        // an added or removed consenter is connected or disconnected when Raft has agreed on the membership change
        if matches!(step, Some(MembershipStep::None | MembershipStep::Rotate(_))) {
            self.effects.push(Effect::Connect(self.members.clone()));
        }
        let outdated = self.outbox.judged_before(self.rules.sequence);
        if !outdated.is_empty() {
            self.effects.push(Effect::Revalidate(outdated));
        }
        self.applied_to(index)
    }

    /// Accepts the leader's snapshot, which replaces the log. The blocks up to the one in it have to be pulled.
    pub(super) fn take_snapshot(&mut self, snapshot: &Snapshot) {
        self.to_apply.clear();
        let (index, term) = (snapshot.metadata.index, snapshot.metadata.term);
        self.applied = self.applied.max(index);
        let data = snapshot.data.clone().unwrap_or_default();
        let header = Block::decode(data.clone()).ok().and_then(|block| block.header);
        let Some(number) = header.map(|header| BlockNumber(header.number)) else { return };
        if number <= self.tip.number {
            return;
        }
        if number == self.tip.number.next() {
            // the snapshot contains the only missing block
            self.pause = None;
            self.to_apply.push_front(Entry { term, index, r#type: EntryType::EntryNormal as i32, data: Some(data) });
            return;
        }
        self.pause = Some(ApplyPause::CatchingUp { number, index });
        self.effects.push(Effect::CatchUp { number });
    }

    /// Pulls blocks that other orderers have and this node does not receive, perhaps because it does not know the
    /// leader. Entries that contain one of these blocks are skipped later.
    pub(super) fn behind(&mut self, number: BlockNumber) {
        if number > self.tip.number && self.pause.is_none() {
            self.pause = Some(ApplyPause::CatchingUp { number, index: 0 });
            self.effects.push(Effect::CatchUp { number });
        }
    }

    /// Continues after the pulled blocks, which are in the ledger. Later entries with blocks beyond the snapshot that
    /// were pulled as well are skipped by block number.
    pub(super) fn caught_up(
        &mut self,
        tip: BlockTip,
        members: ConsenterSet,
        raft_index: u64,
        rules: OrderingConfig,
    ) -> Result<(), ChainFailed> {
        let is_enough =
            |pause: &mut ApplyPause| matches!(pause, ApplyPause::CatchingUp { number, .. } if *number <= tip.number);
        let Some(ApplyPause::CatchingUp { index, .. }) = self.pause.take_if(is_enough) else { return Ok(()) };
        self.tip = tip;
        self.written_index = self.written_index.max(index).max(raft_index);
        self.metadata_index = raft_index;
        self.members = members;
        self.rules = rules;
        self.effects.push(Effect::Connect(self.members.clone()));
        if index > 0 { self.applied_to(index) } else { Ok(()) }
    }
}

/// Whether this is a config block, as by Fabric's `IsConfigBlock`: one message, of a type that is alone in its block.
fn is_config(envelopes: &[SignedEnvelope]) -> bool {
    let [only] = envelopes else { return false };
    envelope::ParsedEnvelope::parse(only.clone())
        .is_ok_and(|message| classify(message.channel_header.r#type) == MessageClass::Config)
}
