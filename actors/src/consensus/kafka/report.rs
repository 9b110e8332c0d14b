//! Publishes the state of a chain and its channel.

use std::sync::Arc;

use orderer_core::ordering::kafka::{KafkaOffset, SkipReason};

use super::chain::KafkaChain;
use super::topic_session::LinkOutage;
use crate::channel::ChannelState;

impl KafkaChain {
    /// Publishes the state of the channel, and opens or closes its gate accordingly.
    pub(super) fn report(&self) {
        let Some(following) = self.following.as_ref().filter(|_| self.channel.holds_lease(self.lease)) else { return };
        if let Some(trouble) = following.down.iter().flatten().next() {
            self.report_trouble(trouble);
            return;
        }
        if !following.caught_up {
            let (next, end) = (following.machine.next_offset(), following.end);
            self.status.set_state("catching up", format!("offset {next} of {end}"));
            self.channel.set_state_with_lease(self.lease, ChannelState::CatchingUp { offset: next.0, end: end.0 });
            return;
        }
        if self.channel.gate().is_open() {
            return;
        }
        self.status.set_state("running", "");
        self.channel.gate().open(following.producer.clone().recipient(), Arc::clone(&following.producer_status));
        self.channel.set_state_with_lease(self.lease, ChannelState::Running);
        tracing::info!(target: "orderer.chain", channel = %self.channel.id(), height = following.machine.last_cut().0 + 1,
            "chain is running");
    }

    pub(super) fn report_trouble(&self, LinkOutage { cause, attempt, pause, since }: &LinkOutage) {
        if !self.channel.holds_lease(self.lease) {
            return;
        }
        self.channel.gate().close();
        let pause = pause.saturating_sub(since.elapsed());
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        // logged at once, and then less and less often: a thousand channels may retry every second
        if attempt.is_power_of_two() {
            tracing::warn!(target: "orderer.kafka", channel = %self.channel.id(), %cause, attempt, pause_ms,
                action = "check the brokers (orderer kafka check)",
                "Kafka cluster is unavailable for the channel; retrying");
        } else {
            tracing::debug!(target: "orderer.kafka", channel = %self.channel.id(), %cause, attempt, pause_ms,
                "Kafka cluster is still unavailable for the channel");
        }
        self.status.set_state("retrying", cause.clone());
        let (cause, attempt) = (cause.clone(), *attempt as usize);
        self.channel.set_state_with_lease(self.lease, ChannelState::Retrying { attempt, cause, pause_ms });
    }

    pub(super) fn report_position(&self) {
        let Some(following) = &self.following else { return };
        if following.caught_up {
            self.status.set_state("running", format!("offset {}", following.machine.next_offset()));
        }
    }

    pub(super) fn report_skip(&self, offset: KafkaOffset, reason: &SkipReason) {
        let channel = self.channel.id();
        match reason {
            SkipReason::AlreadyTaken | SkipReason::StaleTimeToCut { .. } | SkipReason::SeenBefore { .. } => {
                tracing::debug!(target: "orderer.kafka", %channel, %offset, %reason, "record skipped");
            }
            _ => tracing::warn!(target: "orderer.kafka", %channel, %offset, %reason, "record skipped"),
        }
    }
}
