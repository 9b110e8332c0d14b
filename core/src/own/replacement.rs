//! Whether a replaced TLS certificate may identify this node to the other consenters of its channels.
//!
//! Consenters identify each other by the public keys in the channels' configurations. A node has one certificate for all its
//! channels, so a new key serves some channels and not others while the configurations are updated one after the other. The
//! old certificate therefore stays in use as long as a channel names its key: then taking the new one separates the node from
//! no channel. Only a config update can separate it, from the updated channel alone, and the consenters of that channel
//! reject an update that would cost them their quorum.

use bytes::Bytes;
use fabric_proto::etcdraft::Consenter;

use super::consenter::public_key_of_pem;
use crate::config::{ChannelSnapshot, consensus_metadata};
use crate::types::ChannelId;

/// A certificate by which other consenters know this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterCertificate {
    /// The certificate that this node presents to other orderers (`client_tls_cert`).
    Client,
    /// The certificate of the listener to which other orderers connect (`server_tls_cert`).
    Server,
}

/// The channels whose configurations name the old or the new certificate of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateReplacement {
    /// The channels that name the old key. While there are any, the old certificate stays in use.
    pub need_old: Vec<ChannelId>,
    /// The channels that name the new key and not the old one. This node takes no part in them until the new certificate is
    /// in use.
    pub need_new: Vec<ChannelId>,
}

impl CertificateReplacement {
    /// Determines what the configurations of the channels that this node orders by Raft say about its old and its new public
    /// key. Keys are encoded as [`public_key_of`](super::public_key_of) returns them.
    pub fn of<'a>(
        channels: impl IntoIterator<Item = &'a ChannelSnapshot>,
        which: ClusterCertificate,
        old: &Bytes,
        new: &Bytes,
    ) -> Self {
        let mut found = Self::default();
        // a certificate that was renewed with its key needs no update
        if old == new {
            return found;
        }
        for snapshot in channels {
            let Ok(metadata) = consensus_metadata(snapshot) else { continue };
            let keys: Vec<_> = metadata.consenters.iter().filter_map(|consenter| which.key_of(consenter)).collect();
            if keys.contains(old) {
                found.need_old.push(snapshot.channel().clone());
            } else if keys.contains(new) {
                found.need_new.push(snapshot.channel().clone());
            }
        }
        found
    }

    /// Returns whether the new certificate may be used.
    pub fn is_allowed(&self) -> bool {
        self.need_old.is_empty()
    }
}

impl ClusterCertificate {
    fn key_of(self, consenter: &Consenter) -> Option<Bytes> {
        let pem = match self {
            Self::Client => &consenter.client_tls_cert,
            Self::Server => &consenter.server_tls_cert,
        };
        public_key_of_pem(pem)
    }
}
