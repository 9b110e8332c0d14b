//! Validates the consensus metadata of a channel of type etcdraft. It must be valid even if another consenter orders the
//! channel here, because others read it: Go orderers before and after, and peers that look up the orderers.

use std::collections::HashSet;

use bytes::Bytes;
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::lenient;

use super::duration::parse_go_duration;
use super::snapshot::ChannelSnapshot;
use crate::identity::{TlsAuthorities, TlsCertificateError, WorkLimit};

/// The metadata of an etcdraft channel is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentersError {
    /// No orderer has a consenter for this consensus type.
    #[error("error retrieving consenter of type: {0}")]
    Type(String),
    /// The metadata is not an `etcdraft.ConfigMetadata`.
    #[error("it does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// The options are missing.
    #[error("it has no options")]
    NoOptions,
    /// An option that must not be zero is zero.
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
    /// The election timeout is not longer than the heartbeat interval, so followers would start elections all the time.
    #[error("ElectionTick ({election}) must be greater than HeartbeatTick ({heartbeat})")]
    ElectionTick {
        /// `ElectionTick`.
        election: u32,
        /// `HeartbeatTick`.
        heartbeat: u32,
    },
    /// The tick interval is not a positive duration.
    #[error("TickInterval '{0}' is no duration above zero")]
    TickInterval(String),
    /// There are no consenters.
    #[error("the set of consenters is empty")]
    Empty,
    /// A TLS certificate of a consenter is not usable.
    // begins with Fabric's text
    #[error("consenter {host}:{port} has invalid certificate: verifying tls {side} cert {cause}")]
    Certificate {
        /// Host of the consenter.
        host: String,
        /// Port of the consenter.
        port: u32,
        /// `client` or `server`.
        side: &'static str,
        /// Error of the certificate.
        cause: TlsCertificateError,
    },
    /// Two consenters have the same certificate.
    #[error("consenter {host}:{port} has the certificate of another one")]
    Duplicate {
        /// Host of the second consenter.
        host: String,
        /// Port of the second consenter.
        port: u32,
    },
    /// More than one consenter is added or removed, but Raft changes its members one at a time.
    #[error("update of more than one consenter at a time is not supported: {added} added, {removed} removed")]
    ManyChanges {
        /// Number of added consenters.
        added: usize,
        /// Number of removed consenters.
        removed: usize,
    },
}

/// Parses the metadata of an etcdraft channel and validates it as Fabric does.
pub fn validate_consenters(snapshot: &ChannelSnapshot) -> Result<Vec<Consenter>, ConsentersError> {
    validate_consenters_within(snapshot, WorkLimit::AsNeeded)
}

fn validate_consenters_within(
    snapshot: &ChannelSnapshot,
    effort: WorkLimit,
) -> Result<Vec<Consenter>, ConsentersError> {
    let orderer = snapshot.orderer();
    let metadata = read(&orderer.consensus_metadata)?;
    check_options(metadata.options.as_ref().ok_or(ConsentersError::NoOptions)?)?;
    if metadata.consenters.is_empty() {
        return Err(ConsentersError::Empty);
    }
    let authorities = TlsAuthorities::of(snapshot.msps(), orderer.organizations.values());
    let (mut seen, mut memo) = (HashSet::new(), effort.memo());
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

/// Validates the consensus type and metadata in the first configuration of a new channel; an invalid channel could never run.
/// (A Fabric orderer accepts a type without a consenter, and terminates when it creates the channel.)
pub fn check_created(created: &ChannelSnapshot, effort: WorkLimit) -> Result<(), ConsentersError> {
    match created.orderer().consensus_type.as_str() {
        "etcdraft" => validate_consenters_within(created, effort).map(drop),
        "solo" | "kafka" => Ok(()),
        other => Err(ConsentersError::Type(other.to_owned())),
    }
}

/// Validates the change of consenters from one configuration to the next, if both are of type etcdraft.
pub fn validate_consenters_change(
    current: &ChannelSnapshot,
    next: &ChannelSnapshot,
    effort: WorkLimit,
) -> Result<(), ConsentersError> {
    if [current, next].iter().any(|snapshot| snapshot.orderer().consensus_type != "etcdraft") {
        return Ok(());
    }
    let new = validate_consenters_within(next, effort)?;
    // no chain can have run on metadata that does not parse: an update that repairs it adds all of its consenters
    let old = read(&current.orderer().consensus_metadata).map(|metadata| metadata.consenters).unwrap_or_default();
    let certificates = |all: &[Consenter]| all.iter().map(|c| c.client_tls_cert.clone()).collect::<HashSet<Bytes>>();
    let (old, new) = (certificates(&old), certificates(&new));
    let (added, removed) = (new.difference(&old).count(), old.difference(&new).count());
    // one added and one removed is a replaced certificate
    if added > 1 || removed > 1 { Err(ConsentersError::ManyChanges { added, removed }) } else { Ok(()) }
}

/// Parses the metadata of an etcdraft channel without validating it.
///
/// # Errors
/// The metadata does not parse.
pub fn consensus_metadata(snapshot: &ChannelSnapshot) -> Result<ConfigMetadata, ConsentersError> {
    read(&snapshot.orderer().consensus_metadata)
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
