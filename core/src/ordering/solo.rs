//! The solo consenter as a state machine: one orderer decides the order by itself.
//!
//! [`SoloMachine::step`] takes an [`Event`] and returns the [`Effect`]s that its caller must perform, in their order. The
//! machine knows only two parts of the channel's configuration, given by the caller: the sequence in force and the
//! batch limits.

use super::block_cutter::{BatchLimits, BlockCutter, Cut};
use super::timer::{BatchTimer, TimerChange};
use crate::types::ConfigSequence;

/// A message to be ordered. `M` is whatever the caller needs to find again in the effects.
pub trait OrderableMessage {
    /// Returns the size in bytes that counts toward the batch limits: payload plus signature.
    fn size_bytes(&self) -> usize;
    /// Returns the sequence of the configuration under which the message was found valid.
    fn validated_at(&self) -> ConfigSequence;
    /// Whether it is a CONFIG or ORDERER_TRANSACTION message, which gets a block of its own.
    fn is_config(&self) -> bool;
}

impl<M: OrderableMessage> OrderableMessage for std::sync::Arc<M> {
    fn size_bytes(&self) -> usize {
        (**self).size_bytes()
    }
    fn validated_at(&self) -> ConfigSequence {
        (**self).validated_at()
    }
    fn is_config(&self) -> bool {
        (**self).is_config()
    }
}

/// Input of [`SoloMachine::step`].
#[derive(Debug)]
pub enum Event<M> {
    /// A message is to be ordered, or returns after [`Effect::Revalidate`] with a newer [`OrderableMessage::validated_at`].
    Order(M),
    /// The batch timer fired.
    Timer,
    /// A configuration took effect, at start or because its config message was applied.
    Configured {
        /// Sequence of the configuration.
        sequence: ConfigSequence,
        /// Batch limits of the configuration.
        limits: BatchLimits,
    },
}

/// Output of [`SoloMachine::step`], for the caller to perform.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<M> {
    /// Revalidate the message, which was found valid under an older configuration; then feed it again or reject it.
    /// No other message may be fed in between, or the order that a stream was promised is lost.
    Revalidate(M),
    /// The message is pending. The machine keeps it; this copy is for the caller to make the message durable and to
    /// respond to its sender.
    Append(M),
    /// Write a block of these messages.
    WriteBlock(Vec<M>),
    /// Apply this config message and write it as a block of its own; then feed [`Event::Configured`] before any other
    /// message.
    WriteConfigBlock(M),
    /// Let the batch timer fire once, a batch timeout from now.
    ArmTimer,
    /// Cancel the batch timer.
    DisarmTimer,
}

/// State machine of a solo chain.
#[derive(Debug)]
pub struct SoloMachine<M> {
    cutter: BlockCutter<M>,
    sequence: ConfigSequence,
    limits: BatchLimits,
    timer: BatchTimer,
}

impl<M: OrderableMessage + Clone> SoloMachine<M> {
    /// Creates a chain without pending messages, under the given configuration.
    pub fn new(sequence: ConfigSequence, limits: BatchLimits) -> Self {
        Self { cutter: BlockCutter::default(), sequence, limits, timer: BatchTimer::default() }
    }

    /// Processes an event; returns the effects to perform, in order.
    pub fn step(&mut self, event: Event<M>) -> Vec<Effect<M>> {
        match event {
            Event::Order(message) if message.validated_at() < self.sequence => vec![Effect::Revalidate(message)],
            Event::Order(message) if message.is_config() => self.order_config(message),
            Event::Order(message) => self.order_normal(message),
            Event::Timer => self.timer_fired(),
            Event::Configured { sequence, limits } => {
                self.sequence = sequence;
                self.limits = limits;
                Vec::new()
            }
        }
    }

    /// Returns the number of pending messages.
    pub fn pending(&self) -> usize {
        self.cutter.pending()
    }

    /// Returns the total size of the pending messages in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.cutter.pending_bytes()
    }

    fn order_normal(&mut self, message: M) -> Vec<Effect<M>> {
        let size_bytes = message.size_bytes();
        let mut effects = match self.cutter.ordered(message.clone(), size_bytes, self.limits) {
            Cut::Held => vec![Effect::Append(message)],
            Cut::One(batch) => vec![Effect::WriteBlock(batch)],
            Cut::OneThenHeld(batch) => vec![Effect::WriteBlock(batch), Effect::Append(message)],
            Cut::Two(first, second) => vec![Effect::WriteBlock(first), Effect::WriteBlock(second)],
        };
        effects.extend(self.adjust_timer());
        effects
    }

    fn order_config(&mut self, message: M) -> Vec<Effect<M>> {
        let mut effects: Vec<_> = self.cutter.cut().map(Effect::WriteBlock).into_iter().collect();
        effects.push(Effect::WriteConfigBlock(message));
        effects.extend(self.adjust_timer());
        effects
    }

    /// Cuts the pending batch. A timer that fires for a batch that was cut in the meantime finds no message and has
    /// no effect.
    fn timer_fired(&mut self) -> Vec<Effect<M>> {
        self.timer.fired();
        self.cutter.cut().map(Effect::WriteBlock).into_iter().collect()
    }

    fn adjust_timer(&mut self) -> Option<Effect<M>> {
        self.timer.follow(self.cutter.pending()).map(|change| match change {
            TimerChange::Arm => Effect::ArmTimer,
            TimerChange::Disarm => Effect::DisarmTimer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Letter {
        name: char,
        size: usize,
        validated_at: u64,
        config: bool,
    }

    impl OrderableMessage for Letter {
        fn size_bytes(&self) -> usize {
            self.size
        }
        fn validated_at(&self) -> ConfigSequence {
            ConfigSequence(self.validated_at)
        }
        fn is_config(&self) -> bool {
            self.config
        }
    }

    fn names(letters: &[Letter]) -> String {
        letters.iter().map(|l| l.name).collect()
    }

    fn show(effect: &Effect<Letter>) -> String {
        match effect {
            Effect::Revalidate(l) => format!("recheck {}", l.name),
            Effect::Append(l) => format!("hold {}", l.name),
            Effect::WriteBlock(batch) => format!("block {}", names(batch)),
            Effect::WriteConfigBlock(l) => format!("config block {}", l.name),
            Effect::ArmTimer => "arm".into(),
            Effect::DisarmTimer => "disarm".into(),
        }
    }

    /// Script: `a` a small message, `A` one above the preferred bytes, `!c` a config message, `?s` a message checked
    /// under sequence 0, `@` the timer, `+` the configuration of sequence 1.
    #[expect(clippy::needless_pass_by_value)]
    fn check(script: &str, expected: Expect) {
        let limits = BatchLimits { max_message_count: 3, preferred_max_bytes: 100 };
        let mut machine = SoloMachine::new(ConfigSequence(0), limits);
        let mut sequence = 0;
        let mut lines = Vec::new();
        for word in script.split_whitespace() {
            let letter = |name: char, config, validated_at| Letter {
                name,
                size: if name.is_ascii_uppercase() { 101 } else { 30 },
                validated_at,
                config,
            };
            let mut chars = word.chars();
            let event = match (chars.next(), chars.next()) {
                (Some('@'), None) => Event::Timer,
                (Some('+'), None) => {
                    sequence = 1;
                    Event::Configured { sequence: ConfigSequence(1), limits }
                }
                (Some('!'), Some(name)) => Event::Order(letter(name, true, sequence)),
                (Some('?'), Some(name)) => Event::Order(letter(name, false, 0)),
                (Some(name), None) => Event::Order(letter(name, false, sequence)),
                _ => panic!("cannot read {word}"),
            };
            let effects: Vec<String> = machine.step(event).iter().map(show).collect();
            lines.push(format!("{word}: {}", effects.join(", ")).trim_end().to_owned());
        }
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn the_timer_runs_while_something_waits() {
        check(
            "a b c d @ @",
            expect![[r"
                a: hold a, arm
                b: hold b
                c: block abc, disarm
                d: hold d, arm
                @: block d
                @:"]],
        );
    }

    #[test]
    fn a_large_message_takes_what_waits_before_it() {
        check(
            "a A B",
            expect![[r"
                a: hold a, arm
                A: block a, block A, disarm
                B: block B"]],
        );
    }

    #[test]
    fn a_config_message_is_alone_in_its_block() {
        check(
            "a !c + b !d",
            expect![[r"
                a: hold a, arm
                !c: block a, config block c, disarm
                +:
                b: hold b, arm
                !d: block b, config block d, disarm"]],
        );
    }

    #[test]
    fn a_message_checked_under_an_older_configuration_is_checked_again() {
        check(
            "+ ?a b ?c",
            expect![[r"
                +:
                ?a: recheck a
                b: hold b, arm
                ?c: recheck c"]],
        );
    }
}
