//! The consenters of a configuration, as the transport knows them.

use orderer_cluster::{Consenter, Membership};
use orderer_core::ordering::raft::Members;

/// What `members` are to the transport of consenter `own`.
pub(super) fn membership(members: &Members, own: u64) -> Membership {
    let consenter = |(id, listed): (u64, &fabric_proto::etcdraft::Consenter)| Consenter {
        id,
        host: listed.host.clone(),
        // nobody listens on a port that there cannot be
        port: u16::try_from(listed.port).unwrap_or(0),
        client_certificate: listed.client_tls_cert.clone(),
        server_certificate: listed.server_tls_cert.clone(),
    };
    Membership::new(Some(own), members.iter().map(consenter))
}
