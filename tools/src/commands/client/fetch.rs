//! `orderer client fetch`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use fabric_proto::common::Status;
use futures_util::StreamExt as _;
use orderer_core::block::EncodedBlock;
use tonic::transport::Channel;

use super::{ConnectArguments, ConnectionConfig, say};
use orderer_client::{BlockPosition, DeliverItem, OrdererClient, seek, seek_info};
use orderer_core::counted::counted;

#[derive(Debug, clap::Args)]
pub struct FetchArguments {
    /// oldest, newest, config (the config block in force), or a number
    #[arg(value_name = "BLOCK")]
    block: BlockSelector,
    /// File for the block [default: CHANNEL_BLOCK.block]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Channel [default: the development network's]
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
    channel: Option<String>,
    /// Accept the block even if the channel's consenter reports an error
    #[arg(long = "bestEffort")]
    best_effort: bool,
    #[command(flatten)]
    connect: ConnectArguments,
}

#[derive(Clone, Copy, Debug)]
enum BlockSelector {
    Config,
    At(BlockPosition),
}

impl FromStr for BlockSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "config" => Ok(Self::Config),
            "next" => Err("oldest, newest, config, or a number".to_owned()),
            other => other.parse().map(Self::At).map_err(|_| "oldest, newest, config, or a number".to_owned()),
        }
    }
}

pub(super) async fn run(arguments: FetchArguments) -> anyhow::Result<ExitCode> {
    let connecting = arguments.connect.resolve()?;
    let channel = connecting.channel(arguments.channel.as_deref())?;
    let fetching = FetchTask::connect(&connecting, &channel, arguments.best_effort).await?;
    let (block, name) = match arguments.block {
        BlockSelector::At(position) => (fetching.fetch(position).await?, name_of(position)),
        BlockSelector::Config => (fetching.newest_config().await?, "config".to_owned()),
    };
    let file = arguments.file.unwrap_or_else(|| PathBuf::from(format!("{channel}_{name}.block")));
    std::fs::write(&file, block.block_bytes()).with_context(|| format!("write {}", file.display()))?;
    let (number, envelopes, bytes) = (block.number(), counted(block.envelopes(), "envelope"), block.size_bytes());
    say(format_args!("block {number} of {channel} ({envelopes}, {bytes} bytes) is in {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches the latest config block, even if the channel's consenter reports an error.
pub(in super::super) async fn newest_config(
    connecting: &ConnectionConfig,
    channel: &str,
) -> anyhow::Result<EncodedBlock> {
    FetchTask::connect(connecting, channel, true).await?.newest_config().await
}

fn name_of(position: BlockPosition) -> String {
    match position {
        BlockPosition::Oldest => "oldest".to_owned(),
        BlockPosition::Newest => "newest".to_owned(),
        BlockPosition::Next => "next".to_owned(),
        BlockPosition::Number(number) => number.to_string(),
    }
}

struct FetchTask<'a> {
    connecting: &'a ConnectionConfig,
    orderer: OrdererClient<Channel>,
    channel: &'a str,
    best_effort: bool,
}

impl<'a> FetchTask<'a> {
    async fn connect(connecting: &'a ConnectionConfig, channel: &'a str, best_effort: bool) -> anyhow::Result<Self> {
        let orderer = connecting.connect().await?;
        Ok(Self { connecting, orderer, channel, best_effort })
    }

    async fn newest_config(&self) -> anyhow::Result<EncodedBlock> {
        let newest = self.fetch(BlockPosition::Newest).await?;
        self.fetch(BlockPosition::Number(newest.last_config().0)).await
    }

    async fn fetch(&self, position: BlockPosition) -> anyhow::Result<EncodedBlock> {
        let info = seek_info(position, position, false, self.best_effort);
        let ConnectionConfig { signer, target, .. } = self.connecting;
        let request = seek(&**signer, self.channel, &info, target.certificate_hash())?;
        let answer = self.orderer.deliver(request).next().await;
        match answer.context("the orderer ended the stream without an answer")?? {
            DeliverItem::Block(block) => Ok(block),
            DeliverItem::Status(status) => {
                let what = name_of(position);
                anyhow::bail!(refusal(status, &format!("block {what}"), self.channel, &self.connecting.msp_id))
            }
        }
    }
}

/// Describes an error status of a Deliver response.
pub(super) fn refusal(status: Status, what: &str, channel: &str, msp_id: &str) -> String {
    let meaning = match status {
        Status::Forbidden => format!("the identity of {msp_id} may not read this channel"),
        Status::NotFound => "there is no such channel, or no such block in it".to_owned(),
        Status::ServiceUnavailable => "the channel is unavailable, or the orderer is shutting down".to_owned(),
        Status::BadRequest => {
            "the request is invalid (check the clocks, and whether the orderer requires a client certificate)"
                .to_owned()
        }
        _ => "no reason is known".to_owned(),
    };
    format!("{what} of {channel}: the orderer answers {}: {meaning}", status.as_str_name())
}
