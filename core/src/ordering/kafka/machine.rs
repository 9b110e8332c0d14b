//! The state machine of a Kafka chain: processes one event and returns effects.

use super::effect::{Effect, Failure, SkipReason};
use super::event::{Event, OrderingConfig, RevalidationResult};
use super::ingress::Ingress;
use super::metadata::{KafkaMetadata, KafkaOffset};
use super::record::{Record, RecordClass, RegularMessage};
use super::resume::LastBlock;
use crate::envelope::{ParsedEnvelope, SignedEnvelope};
use crate::ordering::block_cutter::{Batch, BlockCutter, Cut};
use crate::ordering::timer::{BatchTimer, TimerChange};
use crate::processing::{MessageClass, classify};
use crate::types::BlockNumber;

/// State machine of a Kafka chain.
#[derive(Debug)]
pub struct KafkaMachine {
    cutter: BlockCutter<SignedEnvelope>,
    timer: BatchTimer,
    rules: OrderingConfig,
    /// Offset of the next record to process; earlier ones are skipped.
    next: KafkaOffset,
    last_cut: BlockNumber,
    /// Consenter metadata of the next block, except for the persisted offset, which its own cut decides.
    memory: KafkaMetadata,
    ingress: Ingress,
    resumed: ResumePoint,
    phase: Phase,
}

/// The block from which the machine was resumed, and how that block was cut.
#[derive(Debug)]
struct ResumePoint {
    last: LastBlock,
    by_timer: bool,
}

#[derive(Debug)]
enum Phase {
    /// The machine is ready for the next record.
    Consuming,
    /// The verdict on a message has to come first.
    Revalidating { offset: KafkaOffset, regular: RegularMessage, is_config: bool, then: AfterRevalidation },
    /// The machine ignores all events.
    Failed,
}

/// Next step for a message that is found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterRevalidation {
    /// Order the message at once: compatibility mode.
    Commit,
    /// Produce the message to the topic again.
    Resubmit,
}

type StepResult = Result<Vec<Effect>, Failure>;

impl KafkaMachine {
    /// Resumes a chain after its last block, under the configuration in force there. Records are to be fed from
    /// [`LastBlock::resume_offset`] on.
    pub fn resume(last: LastBlock, rules: OrderingConfig) -> Self {
        let mut machine = Self {
            cutter: BlockCutter::default(),
            timer: BatchTimer::default(),
            rules,
            next: last.metadata.last_offset_persisted.next(),
            last_cut: last.number,
            memory: last.metadata,
            ingress: Ingress::Open,
            resumed: ResumePoint { last, by_timer: false },
            phase: Phase::Consuming,
        };
        if machine.config_in_flight() {
            machine.ingress = Ingress::BlockedFromStart;
        }
        machine
    }

    /// Processes an event; returns the effects to perform, in order. After [`Effect::Fail`], events have no effect.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        if matches!(self.phase, Phase::Failed) {
            return Vec::new();
        }
        let outcome = match event {
            Event::Record { offset, record } => self.consume(offset, record),
            Event::NoRecords { from, until } => self.skip_gap(from, until),
            Event::CaughtUp => Ok(self.ingress.caught_up().into_iter().collect()),
            Event::Revalidated(verdict) => self.revalidated(verdict),
            Event::Timer => Ok(self.timer_fired()),
            Event::TimeToCutFailed(block) => Ok(self.time_to_cut_failed(block)),
            Event::Configured(rules) => {
                self.rules = rules;
                Ok(Vec::new())
            }
        };
        outcome.unwrap_or_else(|failure| {
            self.phase = Phase::Failed;
            vec![Effect::Fail(failure)]
        })
    }

    /// Returns the offset of the next record to process.
    pub fn next_offset(&self) -> KafkaOffset {
        self.next
    }

    /// Returns the number of the newest block.
    pub fn last_cut(&self) -> BlockNumber {
        self.last_cut
    }

    /// Returns the consenter metadata that the newest block would have if it were written now.
    pub fn metadata(&self) -> KafkaMetadata {
        self.memory
    }

    /// Returns the rules of the configuration in force.
    pub fn rules(&self) -> OrderingConfig {
        self.rules
    }

    /// Whether Broadcast has to wait.
    pub fn ingress_blocked(&self) -> bool {
        self.ingress != Ingress::Open
    }

    /// Returns the number of pending messages.
    pub fn pending(&self) -> usize {
        self.cutter.pending()
    }

    /// Returns the total size of the pending messages in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.cutter.pending_bytes()
    }

    fn consume(&mut self, offset: KafkaOffset, record: Record) -> StepResult {
        self.in_turn("a record", offset)?;
        if offset < self.next {
            let resumed = &mut self.resumed;
            let cut_the_last = offset == resumed.last.metadata.last_offset_persisted
                && record == Record::TimeToCut(resumed.last.number);
            resumed.by_timer |= cut_the_last;
            return Ok(skip(offset, SkipReason::AlreadyTaken));
        }
        if offset > self.next {
            return Err(Failure::OffsetGap { expected: self.next, found: offset });
        }
        self.next = offset.next();
        match record {
            Record::Connect => Ok(Vec::new()),
            Record::TimeToCut(block) => self.time_to_cut(offset, block),
            Record::Regular(regular) => Ok(self.consume_regular(offset, regular)),
            Record::Malformed(cause) => Ok(skip(offset, cause.into())),
        }
    }

    fn skip_gap(&mut self, from: KafkaOffset, until: KafkaOffset) -> StepResult {
        self.in_turn("an offset without a record", from)?;
        if from > self.next {
            return Err(Failure::OffsetGap { expected: self.next, found: from });
        }
        self.next = self.next.max(until);
        Ok(Vec::new())
    }

    fn in_turn(&self, what: &'static str, offset: KafkaOffset) -> Result<(), Failure> {
        match self.phase {
            Phase::Revalidating { .. } => Err(Failure::OutOfTurn { what, offset }),
            Phase::Consuming | Phase::Failed => Ok(()),
        }
    }

    fn time_to_cut(&mut self, offset: KafkaOffset, named: BlockNumber) -> StepResult {
        let expected = self.last_cut.next();
        if named < expected {
            return Ok(skip(offset, SkipReason::StaleTimeToCut { named, last_cut: self.last_cut }));
        }
        if named > expected {
            return Err(Failure::TimeToCutAhead { offset, named, expected });
        }
        let batch = self.cutter.cut().ok_or(Failure::NothingToCut { offset, block: named })?;
        let mut write = self.write(batch, offset);
        if let Effect::WriteBlock { metadata, .. } = &mut write {
            // Fabric omits it here, and only here
            metadata.last_resubmitted_config_offset = KafkaOffset(0);
        }
        let mut effects = vec![write];
        effects.extend(self.adjust_timer());
        Ok(effects)
    }

    fn consume_regular(&mut self, offset: KafkaOffset, regular: RegularMessage) -> Vec<Effect> {
        match (regular.class, self.rules.resubmission) {
            (RecordClass::Unknown, _) | (_, false) => self.consume_in_compatibility_mode(offset, regular),
            (RecordClass::Normal, true) => self.consume_classified(offset, regular, false),
            (RecordClass::Config, true) => self.consume_classified(offset, regular, true),
            (RecordClass::Other(class), true) => skip(offset, SkipReason::UnknownClass(class)),
        }
    }

    /// Processes a message from or for an orderer that does not produce messages again: it is validated now, and
    /// ordered or dropped.
    fn consume_in_compatibility_mode(&mut self, offset: KafkaOffset, regular: RegularMessage) -> Vec<Effect> {
        let header_type = match ParsedEnvelope::parse(regular.envelope.clone()) {
            Ok(message) => message.channel_header.r#type,
            Err(cause) => return skip(offset, SkipReason::NoChannelHeader(cause)),
        };
        match classify(header_type) {
            MessageClass::ConfigUpdate => skip(offset, SkipReason::ConfigUpdate),
            MessageClass::Normal => self.revalidate(offset, regular, false, AfterRevalidation::Commit),
            MessageClass::Config => self.revalidate(offset, regular, true, AfterRevalidation::Commit),
        }
    }

    fn consume_classified(&mut self, offset: KafkaOffset, regular: RegularMessage, is_config: bool) -> Vec<Effect> {
        if let Some(original) = regular.original_offset {
            if original <= self.memory.last_original_offset_processed {
                // every orderer produces an overtaken message again: the first copy is ordered
                return skip(offset, SkipReason::SeenBefore { original });
            }
            if is_config && original > self.memory.last_resubmitted_config_offset {
                // another orderer found a message valid that was invalid here
                self.memory.last_resubmitted_config_offset = original;
            }
        }
        if regular.config_sequence < self.rules.sequence {
            return self.revalidate(offset, regular, is_config, AfterRevalidation::Resubmit);
        }
        let counted = regular.original_offset.unwrap_or(self.memory.last_original_offset_processed);
        self.commit(offset, regular.envelope, is_config, counted)
    }

    fn revalidate(
        &mut self,
        offset: KafkaOffset,
        regular: RegularMessage,
        is_config: bool,
        then: AfterRevalidation,
    ) -> Vec<Effect> {
        let envelope = regular.envelope.clone();
        self.phase = Phase::Revalidating { offset, regular, is_config, then };
        vec![Effect::Revalidate { envelope, is_config }]
    }

    fn revalidated(&mut self, verdict: RevalidationResult) -> StepResult {
        let (offset, regular, is_config, then) = match std::mem::replace(&mut self.phase, Phase::Consuming) {
            Phase::Revalidating { offset, regular, is_config, then } => (offset, regular, is_config, then),
            Phase::Consuming | Phase::Failed => {
                return Err(Failure::OutOfTurn { what: "a verdict", offset: self.next });
            }
        };
        Ok(match (verdict, then) {
            (RevalidationResult::Valid { .. }, AfterRevalidation::Commit) => {
                let counted = self.memory.last_original_offset_processed;
                self.commit(offset, regular.envelope, is_config, counted)
            }
            (RevalidationResult::Valid { envelope, sequence }, AfterRevalidation::Resubmit) => {
                let original_offset = Some(offset).filter(|offset| offset.0 != 0);
                let again =
                    RegularMessage { class: regular.class, envelope, config_sequence: sequence, original_offset };
                let mut effects = Vec::with_capacity(2);
                if is_config {
                    self.memory.last_resubmitted_config_offset = offset;
                    if self.config_in_flight() {
                        effects.extend(self.ingress.block());
                    }
                }
                effects.push(Effect::Resubmit(again));
                effects
            }
            (RevalidationResult::Invalid(refusal), _) => {
                let mut effects = skip(offset, SkipReason::NoLongerValid(refusal));
                // the config message that Broadcast waits for will never be ordered; Fabric would wait for ever
                if is_config && regular.original_offset == Some(self.memory.last_resubmitted_config_offset) {
                    effects.extend(self.ingress.unblock());
                }
                effects
            }
        })
    }

    /// Orders a valid message. `counted` is the highest original offset processed, this message included.
    fn commit(
        &mut self,
        offset: KafkaOffset,
        envelope: SignedEnvelope,
        is_config: bool,
        counted: KafkaOffset,
    ) -> Vec<Effect> {
        let mut effects = if is_config {
            self.commit_config(offset, envelope, counted)
        } else {
            self.commit_normal(offset, envelope, counted)
        };
        effects.extend(self.adjust_timer());
        if !self.config_in_flight() {
            effects.extend(self.ingress.unblock());
        }
        effects
    }

    fn commit_normal(&mut self, offset: KafkaOffset, envelope: SignedEnvelope, counted: KafkaOffset) -> Vec<Effect> {
        let size_bytes = envelope.size_bytes();
        match self.cutter.ordered(envelope, size_bytes, self.rules.limits) {
            Cut::Held => {
                if !self.overflowed_the_last_block(offset, size_bytes) {
                    self.memory.last_original_offset_processed = counted;
                }
                Vec::new()
            }
            Cut::One(batch) => {
                self.memory.last_original_offset_processed = counted;
                vec![self.write(batch, offset)]
            }
            // Fabric does not count the message that is still pending, so that another copy of it is ordered, too
            Cut::OneThenHeld(batch) => vec![self.write(batch, offset.previous())],
            Cut::Two(first, second) => {
                // the message is in the second block only: after a restart in between, its record must be read again
                let first = self.write(first, offset.previous());
                self.memory.last_original_offset_processed = counted;
                vec![first, self.write(second, offset)]
            }
        }
    }

    fn commit_config(&mut self, offset: KafkaOffset, envelope: SignedEnvelope, counted: KafkaOffset) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(4);
        if let Some(batch) = self.cutter.cut() {
            effects.push(self.write(batch, offset.previous()));
        }
        self.memory.last_original_offset_processed = counted;
        let (number, metadata) = self.cut_at(offset);
        effects.push(Effect::WriteConfigBlock { number, envelope, metadata });
        effects
    }

    /// Whether the message at `offset`, which is pending alone after a restart, is the one for which the last block
    /// was cut because both together would have been too large. If so, it was not counted (see [`Cut::OneThenHeld`]
    /// above), and counting it now would make the chain depend on when an orderer was restarted.
    fn overflowed_the_last_block(&self, offset: KafkaOffset, size_bytes: usize) -> bool {
        let ResumePoint { last, by_timer } = &self.resumed;
        let limits = self.rules.limits;
        let is_next = offset == last.metadata.last_offset_persisted.next();
        let had_room = last.envelopes < limits.max_message_count && last.size_bytes <= limits.preferred_max_bytes;
        let too_large = last.size_bytes.saturating_add(size_bytes) > limits.preferred_max_bytes;
        is_next && !by_timer && !last.is_config && had_room && too_large
    }

    fn write(&mut self, envelopes: Batch<SignedEnvelope>, persisted: KafkaOffset) -> Effect {
        let (number, metadata) = self.cut_at(persisted);
        Effect::WriteBlock { number, envelopes, metadata }
    }

    fn cut_at(&mut self, persisted: KafkaOffset) -> (BlockNumber, KafkaMetadata) {
        self.last_cut = self.last_cut.next();
        self.memory.last_offset_persisted = persisted;
        (self.last_cut, self.memory)
    }

    /// Asks for the next block. The batch stays pending: every orderer cuts it at the offset of this record.
    fn timer_fired(&mut self) -> Vec<Effect> {
        if self.timer.fired() && self.cutter.pending() > 0 {
            return vec![Effect::TimeToCut(self.last_cut.next())];
        }
        Vec::new()
    }

    /// Asks for the block again as long as the same batch is pending; Fabric leaves it pending until the next message.
    fn time_to_cut_failed(&mut self, block: BlockNumber) -> Vec<Effect> {
        if block == self.last_cut.next() { self.adjust_timer().into_iter().collect() } else { Vec::new() }
    }

    fn adjust_timer(&mut self) -> Option<Effect> {
        self.timer.follow(self.cutter.pending()).map(|change| match change {
            TimerChange::Arm => Effect::ArmTimer,
            TimerChange::Disarm => Effect::DisarmTimer,
        })
    }

    /// Whether a config message was produced again, and neither it nor a message after it was processed since.
    fn config_in_flight(&self) -> bool {
        self.memory.last_resubmitted_config_offset > self.memory.last_original_offset_processed
    }
}

fn skip(offset: KafkaOffset, reason: SkipReason) -> Vec<Effect> {
    vec![Effect::Skip { offset, reason }]
}
