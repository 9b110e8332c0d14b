//! The actions of a test on the simulation: clients' envelopes, changes of the consenters, and faults.

use std::fmt::Write as _;

use bytes::Bytes;
use fabric_proto::common::HeaderType;

use super::super::super::*;
use super::node::{envelope, rules_of, who};
use super::{ELECTION, World};
use crate::envelope::SignedEnvelope;

impl World {
    pub(crate) fn kill(&mut self, name: &str) {
        self.kills += 1;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.machine = None;
        // their senders see the connection end
        node.unanswered.clear();
        node.pending_writes.clear();
        node.elsewhere.clear();
        node.timer = None;
    }

    /// Makes a node transfer its leadership.
    pub(crate) fn hand_over(&mut self, name: &str) {
        let machine = self.nodes.get_mut(name).and_then(|node| node.machine.as_mut()).expect("it is at work");
        let (_, effects) = machine.hand_over().unwrap_or_else(|failed| panic!("{name}: {failed}"));
        self.perform(name, effects);
    }

    /// Bounds the log of a node, and returns the bytes of the blocks in it.
    pub(crate) fn limit_log(&mut self, name: &str, bytes: u64) -> usize {
        let node = self.nodes.get_mut(name).expect("a node");
        node.machine.as_mut().expect("it is at work").limit_log(bytes);
        node.log.entries.iter().filter_map(|entry| entry.data.as_ref()).map(Bytes::len).sum()
    }

    /// Disconnects a node from all others, or reconnects it.
    pub(crate) fn cut_off(&mut self, name: &str, is_cut_off: bool) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.cut_off = is_cut_off;
        }
    }

    pub(crate) fn stall(&mut self, name: &str) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.stalled = !node.stalled;
    }

    /// Removes a node for good, with its disk.
    pub(crate) fn lose(&mut self, name: &str) {
        self.kill(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.pending.clear();
        node.ledger.truncate(1);
        (node.log, node.lost) = (LogContents::default(), true);
    }

    pub(crate) fn send(&mut self, name: &str, envelope: SignedEnvelope, is_config: bool) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.machine.is_none() || node.removed {
            return;
        }
        self.sent += 1;
        let sequence = node.next_sequence;
        node.next_sequence += 1;
        let kept = if self.acknowledge.keeps() { &mut node.pending } else { &mut node.unanswered };
        kept.insert(sequence, envelope.raw().clone());
        if self.acknowledge.keeps() {
            self.acknowledged.insert(envelope.raw().clone());
        }
        let validated_at = rules_of(&node.ledger).1.sequence;
        let submission =
            SubmittedEnvelope { envelope, validated_at, is_config, origin: EnvelopeOrigin::Local(sequence) };
        self.step(name, Event::Order(submission));
    }

    pub(crate) fn some_node(&mut self) -> String {
        let place = self.dice.below(self.nodes.len() as u64);
        self.nodes.keys().nth(usize::try_from(place).expect("a small number")).expect("a node").clone()
    }

    pub(crate) fn cause_trouble(&mut self) {
        let name = self.some_node();
        match self.dice.below(400) {
            0 | 1 => self.kill(&name),
            2..5 => {
                if let Some(node) = self.nodes.get_mut(&name) {
                    node.cut_off = !node.cut_off;
                }
            }
            5..25 if self.nodes[&name].may_start() => self.start(&name),
            _ => {}
        }
    }

    pub(crate) fn change_consenters(&mut self) {
        let name = self.some_node();
        let (mut names, rules) = rules_of(&self.nodes[&name].ledger);
        let place = usize::try_from(self.dice.below(names.len() as u64)).expect("a small number");
        match self.dice.below(3) {
            0 if names.len() < 5 => names.push(format!("n{}", self.configs)),
            1 if names.len() > 3 => {
                names.remove(place);
            }
            _ => names[place].push('\''),
        }
        self.configs += 1;
        let text = format!("{} {}", rules.sequence, names.join(" "));
        self.send(&name, envelope(HeaderType::Config, &text), true);
    }

    /// Has the configuration name all consenters but one, by an update that is sent to `to`.
    pub(crate) fn remove_consenter(&mut self, name: &str, to: &str) {
        let (mut names, rules) = rules_of(&self.nodes[to].ledger);
        names.retain(|known| who(known) != name);
        self.configs += 1;
        let text = format!("{} {}", rules.sequence, names.join(" "));
        self.send(to, envelope(HeaderType::Config, &text), true);
    }

    /// Returns whether a node's configuration does not name it; `None` if it runs no chain.
    pub(crate) fn is_leaving(&self, name: &str) -> Option<bool> {
        self.nodes[name].machine.as_ref().map(RaftMachine::is_leaving)
    }

    pub(crate) fn describe(&mut self, raw: &Bytes) -> String {
        let mut text = String::new();
        for (name, node) in &mut self.nodes {
            let waits: Vec<_> = node.pending.iter().filter(|(_, pending)| *pending == raw).map(|(at, _)| *at).collect();
            let status = node.machine.as_mut().map(RaftMachine::status);
            let _ = writeln!(text, "{name}: {} blocks, it waits at {waits:?}, {status:?}", node.ledger.len());
        }
        text
    }

    /// Stops all faults, restarts every node, and waits until everything acknowledged is ordered.
    pub(crate) fn settle(&mut self) {
        self.faults = false;
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            node.cut_off = false;
            if node.may_start() {
                self.start(&name);
            }
        }
        for _ in 0..60 * u64::from(ELECTION) {
            self.tick();
        }
    }

    /// Stops injecting faults.
    pub(crate) fn calm(&mut self) {
        self.faults = false;
    }
}
