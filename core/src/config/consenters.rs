//! What a channel of consensus type etcdraft says of its consenters. Another engine orders the channel here, but what it
//! says must be good for those who read it: Go orderers before and after, and peers that ask who orders.

use std::collections::HashSet;

use bytes::Bytes;
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::lenient;
use orderer_x509::Memo;

use super::duration::parse_go_duration;
use super::snapshot::ChannelSnapshot;
use crate::identity::{TlsAuthorities, TlsCertificateError};

/// Why the metadata of an etcdraft channel is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentersError {
    /// No orderer orders channels of this consensus type.
    #[error("error retrieving consenter of type: {0}")]
    Type(String),
    /// It is no `etcdraft.ConfigMetadata`.
    #[error("it does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// The options are missing.
    #[error("it has no options")]
    NoOptions,
    /// A number that must not be zero is.
    #[error(
        "none of HeartbeatTick ({heartbeat}), ElectionTick ({election}) and MaxInflightBlocks ({inflight}) can be zero"
    )]
    ZeroOption {
        /// `HeartbeatTick`.
        heartbeat: u32,
        /// `ElectionTick`.
        election: u32,
        /// `MaxInflightBlocks`.
        inflight: u32,
    },
    /// Followers would start elections all the time.
    #[error("ElectionTick ({election}) must be greater than HeartbeatTick ({heartbeat})")]
    ElectionTick {
        /// `ElectionTick`.
        election: u32,
        /// `HeartbeatTick`.
        heartbeat: u32,
    },
    /// No duration above zero.
    #[error("TickInterval '{0}' is no duration above zero")]
    TickInterval(String),
    /// Nobody.
    #[error("the set of consenters is empty")]
    Empty,
    /// A certificate is of no use.
    #[error("consenter {host}:{port}: its {side} TLS certificate: {cause}")]
    Certificate {
        /// Whose.
        host: String,
        /// Whose.
        port: u32,
        /// client or server.
        side: &'static str,
        /// Why.
        cause: TlsCertificateError,
    },
    /// Two consenters with one certificate.
    #[error("consenter {host}:{port} has the certificate of another one")]
    Duplicate {
        /// Of the second.
        host: String,
        /// Of the second.
        port: u32,
    },
    /// Raft changes its members one by one.
    #[error("update of more than one consenter at a time is not supported: {added} added, {removed} removed")]
    ManyChanges {
        /// New ones.
        added: usize,
        /// Missing ones.
        removed: usize,
    },
}

/// Reads the metadata of an etcdraft channel and checks it as Fabric does.
pub fn check_consenters(snapshot: &ChannelSnapshot) -> Result<Vec<Consenter>, ConsentersError> {
    let orderer = snapshot.orderer();
    let metadata = read(&orderer.consensus_metadata)?;
    check_options(metadata.options.as_ref().ok_or(ConsentersError::NoOptions)?)?;
    if metadata.consenters.is_empty() {
        return Err(ConsentersError::Empty);
    }
    let authorities = TlsAuthorities::of(snapshot.msps(), orderer.organizations.values());
    let (mut seen, mut memo) = (HashSet::new(), Memo::new());
    for consenter in &metadata.consenters {
        let (host, port) = (consenter.host.clone(), consenter.port);
        for (side, pem) in [("client", &consenter.client_tls_cert), ("server", &consenter.server_tls_cert)] {
            authorities.check(pem, &mut memo).map_err(|cause| ConsentersError::Certificate {
                host: host.clone(),
                port,
                side,
                cause,
            })?;
        }
        // one consenter's two certificates may be the same
        let pems = HashSet::from([consenter.client_tls_cert.clone(), consenter.server_tls_cert.clone()]);
        if pems.into_iter().any(|pem| !seen.insert(pem)) {
            return Err(ConsentersError::Duplicate { host, port });
        }
    }
    Ok(metadata.consenters)
}

/// Judges what the first configuration of a channel that is created says of its consensus, or the channel could never run. (A
/// Fabric orderer takes a type that it has no consenter for, and ends when it makes the channel.)
pub fn check_created(created: &ChannelSnapshot) -> Result<(), ConsentersError> {
    match created.orderer().consensus_type.as_str() {
        "etcdraft" => check_consenters(created).map(drop),
        "solo" | "kafka" => Ok(()),
        other => Err(ConsentersError::Type(other.to_owned())),
    }
}

/// Judges the step from one configuration to the next, if both are of type etcdraft.
pub fn check_consenters_step(current: &ChannelSnapshot, next: &ChannelSnapshot) -> Result<(), ConsentersError> {
    if [current, next].iter().any(|snapshot| snapshot.orderer().consensus_type != "etcdraft") {
        return Ok(());
    }
    let new = check_consenters(next)?;
    // no chain can have run on metadata that does not parse: an update that mends it adds all of its consenters
    let old = read(&current.orderer().consensus_metadata).map(|metadata| metadata.consenters).unwrap_or_default();
    let certificates = |all: &[Consenter]| all.iter().map(|c| c.client_tls_cert.clone()).collect::<HashSet<Bytes>>();
    let (old, new) = (certificates(&old), certificates(&new));
    let (added, removed) = (new.difference(&old).count(), old.difference(&new).count());
    // one of each is a certificate that was replaced
    if added > 1 || removed > 1 { Err(ConsentersError::ManyChanges { added, removed }) } else { Ok(()) }
}

fn read(metadata: &Bytes) -> Result<ConfigMetadata, ConsentersError> {
    lenient::decode(metadata.clone()).map_err(ConsentersError::Malformed)
}

fn check_options(options: &Options) -> Result<(), ConsentersError> {
    let (heartbeat, election) = (options.heartbeat_tick, options.election_tick);
    if heartbeat == 0 || election == 0 || options.max_inflight_blocks == 0 {
        return Err(ConsentersError::ZeroOption { heartbeat, election, inflight: options.max_inflight_blocks });
    }
    if election <= heartbeat {
        return Err(ConsentersError::ElectionTick { election, heartbeat });
    }
    match parse_go_duration(&options.tick_interval) {
        Some((interval, _)) if !interval.is_zero() => Ok(()),
        _ => Err(ConsentersError::TickInterval(options.tick_interval.clone())),
    }
}
