//! Metrics of the traffic with other orderers, under Fabric's names.

use std::collections::BTreeMap;
use std::sync::Arc;

use orderer_actors::observer::metric_table;
use orderer_cluster::{ConnectionState, Connections, PeerStatus, QueueStatus, SEND_TIME_BOUNDS, StepService};

use super::collector::{FamilyBuilder, float, size};

/// Both sides of a node that takes part in Raft.
#[derive(Clone)]
pub struct ClusterSides {
    /// The client side.
    pub network: Arc<Connections>,
    /// The server side.
    pub service: StepService,
}

/// The queues of one channel to one host.
#[derive(Default)]
struct ToHost {
    consensus: Queue,
    submit: Queue,
}

/// The sum over all consenters at the host; there is more than one only if a configuration names the host twice.
#[derive(Default)]
struct Queue {
    length: usize,
    capacity: usize,
    status: QueueStatus,
}

impl Queue {
    fn add(&mut self, queue: &QueueStatus) {
        self.length += queue.length;
        self.capacity += queue.capacity;
        self.status.sent += queue.sent;
        self.status.dropped += queue.dropped;
        self.status.waited += queue.waited;
        for (sum, count) in self.status.waited_within.iter_mut().zip(queue.waited_within) {
            *sum += count;
        }
    }
}

impl ClusterSides {
    pub(super) fn show(&self, all: &mut FamilyBuilder) {
        all.add(&metric_table::CLUSTER_INGRESS, &[], size(self.service.figures().streams));
        let destinations = self.network.destinations();
        let is_open = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
        let open = destinations.iter().filter(|destination| is_open(&destination.connection)).count();
        all.add(&metric_table::CLUSTER_CONNECTIONS, &[], size(open));
        for (channel, peers) in &self.network.channels() {
            Self::show_channel(channel, peers, all);
        }
    }

    fn show_channel(channel: &str, peers: &[PeerStatus], all: &mut FamilyBuilder) {
        let streams: usize =
            peers.iter().map(|peer| usize::from(peer.consensus.is_open) + usize::from(peer.submit.is_open)).sum();
        all.add(&metric_table::CLUSTER_STREAMS, &[channel], size(streams));
        all.add(&metric_table::CLUSTER_WORKERS, &[channel], size(streams));
        let mut hosts: BTreeMap<&str, ToHost> = BTreeMap::new();
        for peer in peers {
            let host = hosts.entry(&peer.endpoint).or_default();
            host.consensus.add(&peer.consensus);
            host.submit.add(&peer.submit);
        }
        for (host, ToHost { consensus, submit }) in hosts {
            for (kind, queue) in [("consensus", &consensus), ("transaction", &submit)] {
                all.add(&metric_table::CLUSTER_QUEUE_LENGTH, &[host, kind, channel], size(queue.length));
                all.add(&metric_table::CLUSTER_QUEUE_CAPACITY, &[host, kind, channel], size(queue.capacity));
            }
            let (one, other) = (&consensus.status, &submit.status);
            all.add(&metric_table::CLUSTER_DROPPED, &[host, channel], float(one.dropped + other.dropped));
            let within: Vec<(f64, u64)> = SEND_TIME_BOUNDS
                .iter()
                .zip(one.waited_within.iter().zip(&other.waited_within))
                .map(|(bound, (one, other))| (bound.as_secs_f64(), one + other))
                .collect();
            let waited = (one.waited + other.waited).as_secs_f64();
            all.add_times(&metric_table::CLUSTER_SEND_TIME, &[host, channel], &within, one.sent + other.sent, waited);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use orderer_cluster::ConsenterId;

    use super::*;

    fn peer(id: ConsenterId, endpoint: &str, length: usize) -> PeerStatus {
        let mut waited_within = [7; SEND_TIME_BOUNDS.len()];
        waited_within[0] = 4;
        let queue = QueueStatus {
            is_open: true,
            length,
            capacity: 100,
            sent: 8,
            sent_bytes: 80,
            dropped: 2,
            waited: Duration::from_secs(30),
            waited_within,
        };
        PeerStatus {
            id,
            endpoint: endpoint.to_owned(),
            connection: ConnectionState::Connecting,
            last_error: None,
            consensus: queue,
            submit: QueueStatus { is_open: false, capacity: 100, ..QueueStatus::default() },
        }
    }

    #[test]
    fn peers_of_a_channel_are_shown_by_host() {
        let mut all = FamilyBuilder::new();
        let peers = [peer(1, "a:1", 3), peer(2, "b:1", 5), peer(3, "b:1", 6)];
        ClusterSides::show_channel("ch", &peers, &mut all);
        let text = prometheus::TextEncoder::new().encode_to_string(&all.finish()).unwrap();
        for line in [
            r#"cluster_comm_egress_stream_count{channel="ch"} 3"#,
            r#"cluster_comm_egress_queue_workers{channel="ch"} 3"#,
            r#"cluster_comm_egress_queue_length{channel="ch",host="a:1",msg_type="consensus"} 3"#,
            r#"cluster_comm_egress_queue_length{channel="ch",host="b:1",msg_type="consensus"} 11"#,
            r#"cluster_comm_egress_queue_capacity{channel="ch",host="a:1",msg_type="transaction"} 100"#,
            r#"cluster_comm_msg_dropped_count{channel="ch",host="b:1"} 4"#,
            r#"cluster_comm_msg_send_time_bucket{channel="ch",host="a:1",le="0.005"} 4"#,
            r#"cluster_comm_msg_send_time_bucket{channel="ch",host="a:1",le="10"} 7"#,
            r#"cluster_comm_msg_send_time_bucket{channel="ch",host="a:1",le="+Inf"} 8"#,
            r#"cluster_comm_msg_send_time_sum{channel="ch",host="a:1"} 30"#,
            r#"cluster_comm_msg_send_time_count{channel="ch",host="a:1"} 8"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
