//! Reads configurations and updates from files, in every form in which they are kept.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fabric_json::{Json, from_json};
use fabric_proto::common::{Block, Config, ConfigEnvelope, ConfigUpdate, ConfigUpdateEnvelope, HeaderType};
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::io;

/// First byte of a serialized block: its field 1 is a message, that of a `Config` a number.
const BLOCK_TAG: u8 = 0x0a;

/// A configuration, and its channel if it was in a block.
pub(super) struct Read {
    pub(super) config: Config,
    channel: Option<ChannelId>,
    file: PathBuf,
}

impl Read {
    pub(super) fn channel(&self) -> anyhow::Result<ChannelId> {
        self.channel.clone().with_context(|| format!("{} names no channel: give --channel_id", self.file.display()))
    }

    /// Rejects an update for another channel than the configuration's.
    pub(super) fn check_channel(&self, update: &str) -> anyhow::Result<()> {
        match &self.channel {
            Some(channel) if channel.as_str() != update => {
                anyhow::bail!("the update is for channel {update}, {} is of channel {channel}", self.file.display())
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn config(file: &Path) -> anyhow::Result<Read> {
    let bytes = io::read(Some(file))?;
    let (config, channel) = parse(&bytes).with_context(|| file.display().to_string())?;
    Ok(Read { config, channel, file: file.to_owned() })
}

fn parse(bytes: &[u8]) -> anyhow::Result<(Config, Option<ChannelId>)> {
    // no serialized message begins with a brace
    if bytes.trim_ascii_start().starts_with(b"{") {
        let json = Json::parse(bytes).context("this is no JSON")?;
        return if json.get("data").is_some() {
            of_block(&from_json("common.Block", &json)?)
        } else {
            Ok((Config::decode(Bytes::from(from_json("common.Config", &json)?))?, None))
        };
    }
    if bytes.first() == Some(&BLOCK_TAG) {
        return of_block(bytes);
    }
    Ok((Config::decode(bytes).context("neither a configuration nor a config block")?, None))
}

fn of_block(bytes: &[u8]) -> anyhow::Result<(Config, Option<ChannelId>)> {
    let block = Block::decode(bytes).context("no block")?;
    let entry = block.data.and_then(|data| data.data.into_iter().next()).context("the block is empty")?;
    let message = ParsedEnvelope::parse(SignedEnvelope::parse(entry)?)?;
    let is_config = message.channel_header.r#type == HeaderType::Config as i32;
    anyhow::ensure!(is_config, "this is no config block: its envelope is of type {}", message.channel_header.r#type);
    let config = ConfigEnvelope::decode(message.data)?.config.context("the block has no configuration")?;
    Ok((config, Some(ChannelId::parse(&message.channel_header.channel_id)?)))
}

/// Reads an update: bare, or in an envelope.
pub(super) fn update(file: &Path) -> anyhow::Result<ConfigUpdate> {
    let bytes = Bytes::from(io::read(Some(file))?);
    let message = SignedEnvelope::parse(bytes.clone()).and_then(ParsedEnvelope::parse);
    let bare = match message {
        Ok(message) => ConfigUpdateEnvelope::decode(message.data).map(|envelope| envelope.config_update),
        Err(_) => Ok(bytes),
    };
    let update = bare.and_then(ConfigUpdate::decode);
    let update = update.ok().filter(|update| update.write_set.is_some());
    update.with_context(|| format!("{} is no config update", file.display()))
}
