//! `configtxgen`: genesis blocks, transactions and organizations from configtx.yaml.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fabric_json::{DecodeOptions, Json, to_json};
use fabric_proto::common::{Config, ConfigGroup};
use orderer_core::config::genesis::{application_organization_group, orderer_organization_group};
use orderer_core::config::key;
use orderer_core::types::ChannelId;
use orderer_localconfig::environment::variables;
use prost::Message as _;

use crate::commands::genesis::write;
use crate::commands::io;
use crate::configtx::{self, Loaded};
use crate::say;

/// The end of `configtxgen --help`.
pub const AFTER_HELP: &str = "\
Flags may begin with one dash or two. configtx.yaml is searched for in
-configPath, $FABRIC_CFG_PATH, the working folder and /etc/hyperledger/fabric.

Try it:
  configtxgen -profile SampleAppChannel -channelID mychannel \\
      -outputBlock mychannel.block
  configtxgen -inspectBlock mychannel.block
  configtxgen -printOrg Org1 -configPath ./network";

/// Arguments of `configtxgen`.
#[derive(Debug, clap::Args)]
pub struct ConfigtxgenArguments {
    /// Profile in configtx.yaml
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Name of the channel
    #[arg(long = "channelID", value_name = "NAME")]
    channel_id: Option<String>,
    /// Folder of configtx.yaml
    #[arg(long = "configPath", value_name = "DIR")]
    config_path: Option<PathBuf>,
    /// Write block 0 of the channel to this file
    #[arg(long = "outputBlock", value_name = "FILE")]
    output_block: Option<PathBuf>,
    /// Write the unsigned transaction that creates the channel through a system channel
    #[arg(long = "outputCreateChannelTx", value_name = "FILE")]
    output_create_channel_tx: Option<PathBuf>,
    /// Profile of the system channel, if the new channel also differs from it in other sections than Application; for
    /// -outputCreateChannelTx
    #[arg(long = "channelCreateTxBaseProfile", value_name = "NAME")]
    channel_create_tx_base_profile: Option<String>,
    /// Write the unsigned transaction that sets the anchor peers of the organization -asOrg, as the first update of the
    /// channel
    #[arg(long = "outputAnchorPeersUpdate", value_name = "FILE")]
    output_anchor_peers_update: Option<PathBuf>,
    /// Organization for -outputAnchorPeersUpdate
    #[arg(long = "asOrg", value_name = "NAME")]
    as_org: Option<String>,
    /// Print the block in this file as JSON
    #[arg(long = "inspectBlock", value_name = "FILE")]
    inspect_block: Option<PathBuf>,
    /// Print the transaction in this file as JSON
    #[arg(long = "inspectChannelCreateTx", value_name = "FILE")]
    inspect_channel_create_tx: Option<PathBuf>,
    /// Print the definition of this organization as JSON
    #[arg(long = "printOrg", value_name = "NAME")]
    print_org: Option<String>,
    /// Print the version
    #[arg(long)]
    version: bool,
}

/// Adds a second dash to flags that begin with one, as Go's may.
pub fn with_two_dashes(arguments: &[OsString]) -> Vec<OsString> {
    let longer = |argument: &OsString| match argument.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => format!("-{text}").into(),
        _ => argument.clone(),
    };
    arguments.iter().map(longer).collect()
}

/// Does everything that the flags ask for, in the order of configtxgen. Performs blocking I/O.
pub fn run(arguments: &ConfigtxgenArguments, version: fn(&str) -> String) -> ExitCode {
    let given = arguments.given();
    let writes = given.output_block.is_some()
        || given.output_create_channel_tx.is_some()
        || given.output_anchor_peers_update.is_some();
    if writes && given.channel_id.is_none() {
        return super::failed("configtxgen", "missing channelID, please specify it with '-channelID'");
    }
    if arguments.version {
        say!("{}", version("configtxgen"));
        return ExitCode::SUCCESS;
    }
    let Err(error) = make(&given, writes) else { return ExitCode::SUCCESS };
    match error.downcast_ref::<configtx::ProfileErrors>() {
        Some(configtx::ProfileErrors(mistakes)) => {
            for mistake in mistakes {
                eprintln!("configtxgen: error: {mistake}");
            }
            ExitCode::FAILURE
        }
        None => super::failed("configtxgen", &format!("{error:#}")),
    }
}

/// The arguments without those that are empty, which count as absent.
struct Given<'a> {
    profile: Option<&'a str>,
    channel_id: Option<&'a str>,
    config_path: Option<&'a Path>,
    output_block: Option<&'a Path>,
    output_create_channel_tx: Option<&'a Path>,
    base_profile: Option<&'a str>,
    output_anchor_peers_update: Option<&'a Path>,
    as_org: Option<&'a str>,
    inspect_block: Option<&'a Path>,
    inspect_channel_create_tx: Option<&'a Path>,
    print_org: Option<&'a str>,
}

impl ConfigtxgenArguments {
    fn given(&self) -> Given<'_> {
        fn text(given: Option<&String>) -> Option<&str> {
            given.map(String::as_str).filter(|text| !text.is_empty())
        }
        fn path(given: Option<&PathBuf>) -> Option<&Path> {
            given.map(PathBuf::as_path).filter(|path| !path.as_os_str().is_empty())
        }
        Given {
            profile: text(self.profile.as_ref()),
            channel_id: text(self.channel_id.as_ref()),
            config_path: path(self.config_path.as_ref()),
            output_block: path(self.output_block.as_ref()),
            output_create_channel_tx: path(self.output_create_channel_tx.as_ref()),
            base_profile: text(self.channel_create_tx_base_profile.as_ref()),
            output_anchor_peers_update: path(self.output_anchor_peers_update.as_ref()),
            as_org: text(self.as_org.as_ref()),
            inspect_block: path(self.inspect_block.as_ref()),
            inspect_channel_create_tx: path(self.inspect_channel_create_tx.as_ref()),
            print_org: text(self.print_org.as_ref()),
        }
    }
}

impl Given<'_> {
    fn file(&self) -> Result<PathBuf, configtx::ProfileErrors> {
        let variables = variables();
        configtx::find_file(self.config_path, variables.get("FABRIC_CFG_PATH").map(Path::new))
    }

    fn load(&self, profile: &str) -> Result<Loaded, configtx::ProfileErrors> {
        configtx::load(&self.file()?, profile, &variables())
    }
}

fn make(given: &Given<'_>, writes: bool) -> anyhow::Result<()> {
    if writes {
        let channel = ChannelId::parse(given.channel_id.unwrap_or_default()).context("-channelID")?;
        let profile = given.profile.context(
            "the '-profile' is required when '-outputBlock', '-outputCreateChannelTx' or '-outputAnchorPeersUpdate' \
             is specified",
        )?;
        write_files(given, &channel, &given.load(profile)?)?;
    } else if let Some(base) = given.base_profile {
        warn_of_base_profile();
        given.load(base)?;
    }
    if let Some(file) = given.inspect_block {
        inspect(file, "common.Block").context("error on inspectBlock")?;
    }
    if let Some(file) = given.inspect_channel_create_tx {
        inspect(file, "common.Envelope").context("error on inspectChannelCreateTx")?;
    }
    if let Some(organization) = given.print_org {
        print_organization(given, organization)?;
    }
    Ok(())
}

/// Writes what is asked for; creates everything before anything is written.
fn write_files(given: &Given<'_>, channel: &ChannelId, loaded: &Loaded) -> anyhow::Result<()> {
    let base = given.base_profile.map(|base| given.load(base)).transpose()?;
    if base.is_some() && given.output_create_channel_tx.is_none() {
        warn_of_base_profile();
    }
    let block = given.output_block.map(|to| loaded.genesis_block(channel).map(|block| (to, block))).transpose()?;
    let creation = given.output_create_channel_tx.map(|to| {
        let made = match &base {
            Some(base) => loaded.creation_within(base, channel),
            None => loaded.creation(channel),
        };
        made.map(|transaction| (to, transaction))
    });
    let creation = creation.transpose()?;
    let peers = given.output_anchor_peers_update.map(|to| -> anyhow::Result<_> {
        let organization = given.as_org.context("must specify an organization to update the anchor peer for")?;
        Ok((to, loaded.anchor_peers_update(channel, organization)?))
    });
    for (to, bytes) in block.into_iter().chain(creation).chain(peers.transpose()?) {
        write(to, &bytes)?;
    }
    Ok(())
}

fn warn_of_base_profile() {
    eprintln!(
        "configtxgen: warning: specified 'channelCreateTxBaseProfile', but did not specify 'outputCreateChannelTx', \
         'channelCreateTxBaseProfile' will not affect output."
    );
}

fn inspect(file: &Path, kind: &str) -> anyhow::Result<()> {
    print_json(&to_json(kind, &io::read(Some(file))?, &readable())?)
}

fn readable() -> DecodeOptions {
    DecodeOptions { exact: false, values_max: usize::MAX }
}

/// Prints the group of an organization: that of an ordering organization if it has endpoints, otherwise that of an
/// organization of the Application section.
fn print_organization(given: &Given<'_>, name: &str) -> anyhow::Result<()> {
    let organization = configtx::load_organization(&given.file()?, name, &variables())?;
    let orders = organization.definition.as_ref().is_some_and(|known| !known.orderer_endpoints.is_empty());
    let (section, group) = if orders {
        (key::ORDERER, orderer_organization_group(&organization))
    } else {
        (key::APPLICATION, application_organization_group(&organization))
    };
    // values are decoded by the path at which they are in a configuration
    let within = |name: &str, group| ConfigGroup { groups: [(name.to_owned(), group)].into(), ..Default::default() };
    let config = Config { sequence: 0, channel_group: Some(within(section, within(name, group))) };
    let json = to_json("common.Config", &config.encode_to_vec(), &readable())?;
    let path = ["channel_group", "groups", section, "groups", name];
    let organization = path.iter().try_fold(&json, |json, step| json.get(step));
    print_json(organization.context("the configuration has no such group")?)
}

fn print_json(json: &Json) -> anyhow::Result<()> {
    let mut text = Vec::new();
    json.write_pretty(&mut text).context("write the JSON")?;
    io::write(None, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_begin_with_one_dash() {
        let given = ["-profile", "X", "--channelID", "-h", "-outputBlock=x-y"].map(OsString::from);
        assert_eq!(with_two_dashes(&given), ["--profile", "X", "--channelID", "-h", "--outputBlock=x-y"]);
    }
}
