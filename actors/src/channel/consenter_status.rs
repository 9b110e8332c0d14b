//! What a consenter publishes beside its channel's state.

use serde::Serialize;

/// How a channel's topic fares, as it was seen last. Only of a channel that follows one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KafkaHealth {
    /// The broker that leads the topic.
    pub leader: Option<i32>,
    /// On how many brokers the topic is.
    pub replicas: usize,
    /// How many of them have all of it.
    pub in_sync: usize,
    /// The number of replicas in sync that the topic needs to accept a record. None if the brokers do not say.
    pub least_in_sync: Option<usize>,
    /// Its oldest offset, and the one that its next record gets, when settings were read last.
    pub offsets: Option<(i64, i64)>,
    /// After so many hours the topic forgets a record. None: never, or nobody says.
    pub forgets_after_hours: Option<f64>,
    /// In so many hours it has forgotten all that this orderer has taken, if it goes on as it did. An orderer that is
    /// away for longer cannot go on.
    pub hours_left: Option<f64>,
    /// Why the topic does not serve the channel.
    pub trouble: Option<String>,
}
