//! Decides when a topic that the brokers do not know is gone. A broker that has just come up knows none for a while, so the
//! protocol lets clients retry on that answer. Pure: times are arguments.

use std::time::Duration;

use orderer_kafka::Error;

/// Duration for which the brokers have reported that the topic does not exist.
#[derive(Debug, Default)]
pub(super) struct TopicAbsence {
    since: Option<Duration>,
}

impl TopicAbsence {
    /// Returns whether a retry is of no use after this error at `now` (since any fixed moment), because an operator has to see
    /// to the topic first. One that is not known is waited for, for `grace` after the first such answer.
    pub(super) fn is_permanent(&mut self, error: &Error, now: Duration, grace: Duration) -> bool {
        match error {
            Error::UnknownTopic { .. } => now.saturating_sub(*self.since.get_or_insert(now)) >= grace,
            Error::OffsetOutOfRange { .. }
            | Error::WrongPartitionCount { .. }
            | Error::Poison { .. }
            | Error::NoCommonVersion { .. } => true,
            // a broker that cannot be reached says nothing about the topic
            _ => false,
        }
    }

    /// The topic is there.
    pub(super) fn ended(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn unknown() -> Error {
        Error::UnknownTopic { topic: "app".to_owned() }
    }

    #[test]
    fn an_unknown_topic_is_gone_only_when_it_stays_unknown() {
        let mut absence = TopicAbsence::default();
        let at = Duration::from_secs;
        assert!(!absence.is_permanent(&unknown(), at(100), GRACE));
        assert!(!absence.is_permanent(&unknown(), at(159), GRACE));
        assert!(absence.is_permanent(&unknown(), at(160), GRACE));
        absence.ended();
        assert!(!absence.is_permanent(&unknown(), at(200), GRACE), "it was there meanwhile");
    }

    #[test]
    fn what_no_waiting_mends_is_final_at_once() {
        let wrong = Error::WrongPartitionCount { topic: "app".to_owned(), found: 3 };
        assert!(TopicAbsence::default().is_permanent(&wrong, Duration::ZERO, GRACE));
    }
}
