//! configtx.yaml: reads the profiles of networks, and creates blocks and transactions from them.
//!
//! Three steps, as with the node's own settings: the document (`document`), the profile as it is written (`written`),
//! the profile with its rules parsed and its files read (`check`). The results are created in
//! `orderer_core::config::genesis`.

mod validate;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::common::Config;
use orderer_actors::node_context::{nonce, unix_now};
use orderer_core::config::genesis::{self, Consensus, Organization, Profile, channel_group};
use orderer_core::config::{ChannelSnapshot, ConfigCache, validate_consenters};
use orderer_core::types::ChannelId;

use crate::yaml_document::{self, YamlDocument};

/// Prefix of the variables that override keys.
const PREFIX: &str = "CONFIGTX_";
const FILE_NAMES: [&str; 2] = ["configtx.yaml", "configtx.yml"];
const SYSTEM_FOLDER: &str = "/etc/hyperledger/fabric";

/// The errors in a file, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ProfileErrors(pub Vec<ProfileError>);

fn lines(mistakes: &[ProfileError]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The file.
    pub file: PathBuf,
    /// The profiles that contain it; none if it is elsewhere.
    pub profiles: Vec<String>,
    /// The key, below the profile; may be empty.
    pub key: String,
    /// The error.
    pub problem: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match self.profiles.as_slice() {
            [] => {}
            [profile] => write!(f, "profile {profile}: ")?,
            profiles => write!(f, "profiles {}: ", profiles.join(", "))?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Finds the file: in the named directory, or else in `FABRIC_CFG_PATH`, the working directory, or the directory of a
/// packaged installation.
pub fn find_file(config_path: Option<&Path>, fabric_cfg_path: Option<&Path>) -> Result<PathBuf, ProfileErrors> {
    let folders: Vec<&Path> = match config_path {
        Some(folder) => vec![folder],
        None => fabric_cfg_path.into_iter().chain([Path::new("."), Path::new(SYSTEM_FOLDER)]).collect(),
    };
    let file =
        |folder: &Path, name: &str| if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) };
    let files = || folders.iter().flat_map(|folder| FILE_NAMES.map(|name| file(folder, name)));
    files().find(|file| file.is_file()).ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let problem = format!(
            "not found in {}; name the file by --config, or its folder by --configPath or FABRIC_CFG_PATH",
            looked.join(", ")
        );
        one(Path::new(FILE_NAMES[0]), problem)
    })
}

/// A valid profile.
#[derive(Debug)]
pub struct Loaded {
    file: PathBuf,
    name: String,
    profile: Profile,
}

/// Reads a profile and the files that it names. `variables` may override keys, as `CONFIGTX_PROFILES_NAME_ORDERER_..`.
pub fn load(file: &Path, name: &str, variables: &BTreeMap<String, String>) -> Result<Loaded, ProfileErrors> {
    let document = parse(file, variables)?;
    let Written { profiles: written, .. } = read(&document);
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some((_, written)) = written.iter().find(|(profile, _)| profile == name) else {
        let known: Vec<&str> = written.iter().map(|(profile, _)| profile.as_str()).collect();
        let problem = match known.as_slice() {
            [] => "there are no Profiles".to_owned(),
            known => format!("there is no profile {name}, only {}", known.join(", ")),
        };
        document.report_error("", problem);
        return Err(gathered(file, document.mistakes()));
    };
    let profile = validate::check(&document, folder, written);
    let mistakes = document.mistakes();
    if mistakes.is_empty() {
        Ok(Loaded { file: file.to_owned(), name: name.to_owned(), profile })
    } else {
        Err(gathered(file, mistakes))
    }
}

/// Reads an organization of the section Organizations and the files that it names.
pub fn load_organization(
    file: &Path,
    name: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Organization, ProfileErrors> {
    let document = parse(file, variables)?;
    let Written { organizations, .. } = read(&document);
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some(written) = organizations.iter().find(|organization| organization.name == name) else {
        document.report_error("Organizations", format!("organization {name} not found"));
        return Err(gathered(file, document.mistakes()));
    };
    let channel = yaml::flags(&document.root().field("Capabilities").field("Channel"));
    let organization = validate::check_organization(&document, folder, written, &channel);
    let mistakes = document.mistakes();
    if mistakes.is_empty() { Ok(organization) } else { Err(gathered(file, mistakes)) }
}

fn parse(file: &Path, variables: &BTreeMap<String, String>) -> Result<YamlDocument, ProfileErrors> {
    let text = std::fs::read_to_string(file).map_err(|error| one(file, format!("cannot be read: {error}")))?;
    let document = YamlDocument::parse(&text).map_err(|error| one(file, format!("is not YAML: {error}")))?;
    Ok(document.overridden_by(PREFIX, variables))
}

/// The parts of a document from which something is created.
struct Written {
    organizations: Vec<yaml::Organization>,
    profiles: Vec<(String, yaml::Profile)>,
}

/// Parses the whole document, since an error anywhere is reported.
fn read(document: &YamlDocument) -> Written {
    let root = document.root();
    root.expect_only(&["Profiles", "Organizations", "Channel", "Application", "Orderer", "Capabilities"]);
    let organizations = yaml::Organization::read_list(&root.field("Organizations"));
    yaml::Profile::read(&root.field("Channel"));
    yaml::Application::read(&root.field("Application"));
    yaml::Orderer::read(&root.field("Orderer"));
    for (_, capabilities) in root.field("Capabilities").members() {
        yaml::flags(&capabilities);
    }
    let profiles = root.field("Profiles").members();
    let profiles = profiles.into_iter().map(|(name, node)| (name, yaml::Profile::read(&node))).collect();
    Written { organizations, profiles }
}

fn one(file: &Path, problem: String) -> ProfileErrors {
    ProfileErrors(vec![ProfileError { file: file.to_owned(), profiles: Vec::new(), key: String::new(), problem }])
}

/// Merges equal errors of a section that is used in several places into one.
fn gathered(file: &Path, found: Vec<yaml_document::YamlError>) -> ProfileErrors {
    let mut gathered: Vec<ProfileError> = Vec::new();
    for yaml_document::YamlError { key, problem } in found {
        let (profile, key) = match key.strip_prefix("Profiles.").map(|rest| rest.split_once('.').unwrap_or((rest, "")))
        {
            Some((profile, key)) => (Some(profile.to_owned()), key.to_owned()),
            None => (None, key.strip_prefix("Channel.").unwrap_or(&key).to_owned()),
        };
        let same = |known: &&mut ProfileError| {
            known.problem == problem && in_organization(&known.key) == in_organization(&key)
        };
        match gathered.iter_mut().find(same) {
            Some(known) => {
                if known.profiles.is_empty() && profile.is_some() {
                    known.key = key;
                }
                known.profiles.extend(profile.filter(|profile| !known.profiles.contains(profile)));
            }
            None => {
                gathered.push(ProfileError { file: file.to_owned(), profiles: Vec::from_iter(profile), key, problem });
            }
        }
    }
    ProfileErrors(gathered)
}

/// Returns the end of a key that names an organization and the part of it, wherever that is used.
fn in_organization(key: &str) -> &str {
    key.rfind("Organizations[").map_or(key, |at| &key[at..])
}

impl Loaded {
    fn refuse(&self, key: &str, problem: impl Into<String>) -> ProfileErrors {
        ProfileErrors(vec![ProfileError {
            file: self.file.clone(),
            profiles: vec![self.name.clone()],
            key: key.to_owned(),
            problem: problem.into(),
        }])
    }

    /// Returns whether other channels are created through this one.
    pub fn is_system_channel(&self) -> bool {
        self.profile.consortiums.is_some()
    }

    /// Returns the name in configurations; empty without an orderer section.
    pub fn consensus_type(&self) -> &'static str {
        self.profile.orderer.as_ref().map_or("", |orderer| orderer.consensus.name())
    }

    /// Returns block 0 of a channel, serialized. Checks that a node could start from it.
    pub fn genesis_block(&self, channel: &ChannelId) -> Result<Bytes, ProfileErrors> {
        let profile = &self.profile;
        let Some(orderer) = &profile.orderer else {
            return Err(self.refuse("Orderer", "a genesis block names the orderers, and this section is missing"));
        };
        if profile.consortiums.is_none() && profile.application.is_none() {
            return Err(self.refuse(
                "Application",
                "a channel has this section, or Consortiums if it is the system channel; both are missing",
            ));
        }
        let organizations = orderer.organizations.iter();
        let organizations = organizations.chain(profile.application.iter().flat_map(|a| &a.organizations));
        let consortiums = profile.consortiums.iter().flat_map(BTreeMap::values).flatten();
        if let Some(foreign) = organizations.chain(consortiums).find(|o| o.definition.is_none()) {
            let problem = format!("a genesis block defines every organization, and {} is skipped", foreign.name);
            return Err(self.refuse("SkipAsForeign", problem));
        }
        let group = channel_group(profile);
        let config = Config { sequence: 0, channel_group: Some(group.clone()) };
        let wrong = |error: &dyn std::error::Error| self.refuse("", orderer_actors::chain_state::error_chain(error));
        let snapshot = ChannelSnapshot::from_config(channel.clone(), config, &Arc::<ConfigCache>::default())
            .map_err(|error| wrong(&error))?;
        snapshot.check_supported().map_err(|error| wrong(&error))?;
        if let Consensus::Etcdraft(_) = orderer.consensus {
            validate_consenters(&snapshot)
                .map_err(|error| self.refuse("Orderer.EtcdRaft", orderer_actors::chain_state::error_chain(&error)))?;
        }
        Ok(genesis::genesis_block(channel, group, nonce(), unix_now()))
    }

    /// Returns the transaction that creates a channel through the system channel, serialized and unsigned.
    pub fn creation(&self, channel: &ChannelId) -> Result<Bytes, ProfileErrors> {
        let update = genesis::channel_creation_update(&self.profile, channel)
            .map_err(|error| self.refuse("", orderer_actors::chain_state::error_chain(&error)))?;
        Ok(genesis::channel_creation_envelope(&update, unix_now()))
    }
    /// Returns the transaction that creates a channel that also differs in other sections than Application from the
    /// system channel, whose profile is `base`.
    pub fn creation_within(&self, base: &Self, channel: &ChannelId) -> Result<Bytes, ProfileErrors> {
        let update = genesis::channel_creation_update_within(&self.profile, &base.profile, channel)
            .map_err(|error| self.refuse("", orderer_actors::chain_state::error_chain(&error)))?;
        Ok(genesis::channel_creation_envelope(&update, unix_now()))
    }

    /// Returns the transaction that sets the anchor peers of an organization, serialized and unsigned.
    pub fn anchor_peers_update(&self, channel: &ChannelId, organization: &str) -> Result<Bytes, ProfileErrors> {
        let update = genesis::anchor_peers_update(&self.profile, channel, organization)
            .map_err(|error| self.refuse("Application", orderer_actors::chain_state::error_chain(&error)))?;
        Ok(genesis::channel_creation_envelope(&update, unix_now()))
    }
}
