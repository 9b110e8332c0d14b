//! Performs the effects of the machine.

use std::collections::VecDeque;

use orderer_core::ordering::raft::{ConsenterSet, Effect, Event, NewBlock, RevalidationResult, Role};

use crate::player::{Player, keep};

impl Player<'_> {
    pub(crate) fn perform_all(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let mut events = VecDeque::new();
        for effect in effects {
            self.perform(effect, &mut events)?;
        }
        events.into_iter().try_for_each(|event| self.feed(event))
    }

    /// Performs an effect. The disk, validation and other orderers respond at once, because the recorded orderers wait
    /// for them.
    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) -> Result<(), String> {
        match effect {
            Effect::Persist(write) if self.choice.slow_disk || !self.unwritten.is_empty() => {
                self.unwritten.push_back(write);
            }
            Effect::Persist(write) => {
                let number = write.number;
                keep(&mut self.disk, write);
                events.push_back(Event::Persisted(number));
            }
            Effect::SaveSnapshot { snapshot, trim } => {
                self.disk.entries.retain(|entry| entry.index > trim);
                self.disk.snapshot = Some(*snapshot);
            }
            Effect::Send { to, message, metadata } => {
                let is_snapshot = message.snapshot.is_some();
                let sent = self.sends(to, &message, &metadata)?;
                if is_snapshot {
                    events.push_back(Event::SnapshotSent { to, sent });
                }
                if !sent {
                    events.push_back(Event::Unreachable(to));
                }
            }
            Effect::Forward { to, submission } => self.forwards(to, &submission)?,
            Effect::Validate(submission) => {
                let consenters = Some(self.chain.block(self.examined).configuration.rules.consenters.clone());
                events.push_back(Event::Validated(RevalidationResult::Valid { submission: *submission, consenters }));
            }
            Effect::Apply { number, .. } => {
                self.applying = Some(number.0);
                // when a follower has finished is not visible in the recording
                let status = self.machine.as_mut().unwrap().status().unwrap().raft;
                if status.role != Role::Leader {
                    events.extend(self.meaning());
                }
            }
            Effect::WriteBlock(block) | Effect::WriteConfigBlock(block) => {
                self.writes(&block)?;
                events.push_back(Event::Durable(block.number));
            }
            Effect::CatchUp { number } => {
                self.tally.copied += number.0 - self.tip;
                self.tip = number.0;
                let block = self.chain.block(number.0);
                let (members, raft_index): (ConsenterSet, u64) = self.chain.members(number.0);
                let (hash, rules) = (*block.encoded.header_hash(), block.configuration.rules.clone());
                events.push_back(Event::CaughtUp { number, hash, members, raft_index, rules });
            }
            Effect::ArmTimer => self.timer = true,
            Effect::DisarmTimer => self.timer = false,
            Effect::Removed => self.is_removed = true,
            Effect::Connect(_) | Effect::Leader(_) => {}
            other => return Err(format!("it wants {other:?}")),
        }
        Ok(())
    }

    fn writes(&mut self, block: &NewBlock) -> Result<(), String> {
        if block.number.0 != self.tip + 1 {
            return Err(format!("block {} was written behind {}", block.number, self.tip));
        }
        self.chain.compare(block)?;
        self.tip = block.number.0;
        self.tally.written += 1;
        Ok(())
    }
}
