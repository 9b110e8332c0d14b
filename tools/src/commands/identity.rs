//! The identity that a command signs as: an MSP directory and the MSP's ID, by flags or by the variables of Fabric's
//! `peer`.

use std::path::PathBuf;

use anyhow::Context as _;
use orderer_core::crypto::SigningIdentity;

use orderer_localconfig::local_msp::read_signing_identity;

const FOLDER_VARIABLE: &str = "CORE_PEER_MSPCONFIGPATH";
const ID_VARIABLE: &str = "CORE_PEER_LOCALMSPID";

/// Arguments that name the signing identity.
#[derive(Debug, clap::Args)]
pub struct SignerArguments {
    /// Sign as the identity in this MSP folder [default: $CORE_PEER_MSPCONFIGPATH]
    #[arg(long, value_name = "DIR")]
    msp_dir: Option<PathBuf>,
    /// ID of the identity's MSP [default: $CORE_PEER_LOCALMSPID]
    #[arg(long, value_name = "NAME")]
    msp_id: Option<String>,
}

impl SignerArguments {
    /// Reads the certificate and the key of the named identity, otherwise those in `default`: a directory, and the
    /// MSP's ID. Also returns that ID, for messages.
    pub fn read(&self, default: Option<(PathBuf, String)>) -> anyhow::Result<(SigningIdentity, String)> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = self.msp_dir.clone().or_else(|| variable(FOLDER_VARIABLE).map(PathBuf::from));
        let id = self.msp_id.clone().or_else(|| variable(ID_VARIABLE));
        let (folder, id) = match (folder, id, default) {
            (Some(folder), Some(id), _) => (folder, id),
            (Some(folder), None, _) => {
                anyhow::bail!("MSP folder {} without the MSP's name: give --msp-id or {ID_VARIABLE}", folder.display())
            }
            (None, _, Some(default)) => default,
            (None, _, None) => {
                anyhow::bail!("nobody to sign as: give --msp-dir and --msp-id, or {FOLDER_VARIABLE} and {ID_VARIABLE}")
            }
        };
        let identity =
            read_signing_identity(&folder, &id).with_context(|| format!("MSP folder {}", folder.display()))?;
        Ok((identity, id))
    }
}
