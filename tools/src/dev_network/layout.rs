//! Paths in the directory of a development network, and the number of its orderers.

use std::fmt;
use std::path::{Path, PathBuf};

pub(super) const SYSTEM_CHANNEL: &str = "system-channel";
/// File name of the configuration of the only or the first orderer.
pub const CONFIG_FILE: &str = "orderer.yaml";

/// How many orderers a development network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One orderer with consensus type solo.
    Single,
    /// This number of orderers with consensus type etcdraft.
    Cluster(u8),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("an orderer of type solo"),
            Self::Cluster(1) => f.write_str("1 orderer of type etcdraft"),
            Self::Cluster(number) => write!(f, "{number} orderers of type etcdraft"),
        }
    }
}

impl Size {
    /// Determines the size of the network that exists in a directory.
    pub(super) fn found(folder: &Path) -> Self {
        if genesis_path(folder, SYSTEM_CHANNEL).exists() {
            return Self::Single;
        }
        let others = (1..u8::MAX).take_while(|place| folder.join(config_file(u16::from(*place))).exists());
        Self::Cluster(others.last().unwrap_or(0) + 1)
    }
}

/// Returns the path of a channel's block 0.
pub(super) fn genesis_path(folder: &Path, channel: &str) -> PathBuf {
    folder.join("genesis").join(format!("{channel}.block"))
}

/// Returns a name with the number of the orderer at this index; the first orderer's name has no number.
pub(super) fn numbered(word: &str, place: u16) -> String {
    if place == 0 { word.to_owned() } else { format!("{word}{}", place + 1) }
}

/// Returns the host name of the orderer at this index, within the organization's domain.
pub(super) fn name(place: u16) -> String {
    numbered("orderer", place)
}

/// Returns the name of the configuration file of the orderer at this index.
pub(super) fn config_file(place: u16) -> String {
    format!("{}.yaml", name(place))
}
