//! Converts the consenters of a configuration for the transport.

use orderer_cluster::{Consenter, Membership};
use orderer_core::ordering::raft::ConsenterSet;

/// Returns `members` as the membership that the transport of consenter `own` uses.
pub(super) fn membership(members: &ConsenterSet, own: u64) -> Membership {
    let consenter = |(id, listed): (u64, &fabric_proto::etcdraft::Consenter)| Consenter {
        id,
        host: listed.host.clone(),
        // an invalid port becomes 0, on which no orderer listens
        port: u16::try_from(listed.port).unwrap_or(0),
        client_certificate: listed.client_tls_cert.clone(),
        server_certificate: listed.server_tls_cert.clone(),
    };
    Membership::new(Some(own), members.iter().map(consenter))
}
