//! Versions of the rules for MSPs, by the capabilities of a channel.

/// Version of the rules for members, by a channel's capabilities. Later versions include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MspVersion {
    /// Administrators are listed by certificate; units do not make roles.
    V1_0,
    /// Units make clients and peers.
    V1_1,
    /// Principals may be combined, or require an identity that is anonymous or not.
    V1_3,
    /// Units make administrators and orderers, too.
    V1_4_3,
    /// Members may have Ed25519 keys, and not RSA keys.
    V3_0,
}

impl MspVersion {
    /// The newest rules.
    pub const LATEST: Self = Self::V3_0;
}
