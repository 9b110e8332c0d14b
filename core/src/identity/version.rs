//! How much of an MSP's definition counts: a channel's capabilities say which rules its nodes have agreed on.

/// Rules for members, by the level of a channel's capabilities. Later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MspVersion {
    /// Administrators are listed by certificate; units do not make roles.
    V1_0,
    /// Units tell clients from peers.
    V1_1,
    /// Principals may be combined or ask for a name.
    V1_3,
    /// Units make administrators and orderers, too.
    V1_4_3,
    /// Members may have Ed25519 keys.
    V3_0,
}

impl MspVersion {
    /// The newest rules.
    pub const LATEST: Self = Self::V3_0;
}
