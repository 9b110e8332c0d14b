//! `orderer ledger stats`.

use std::process::ExitCode;

use anyhow::Context as _;
use orderer_actors::ledger_provider::LedgerProvider;
use orderer_actors::node_context::unix_now;
use orderer_core::block::EncodedBlock;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::types::ChannelId;
use serde::Serialize;

use super::{LedgerLocation, Ledgers, channels, size, store};
use crate::commands::progress::Progress;
use orderer_core::counted::counted;

#[derive(Debug, clap::Args)]
pub struct StatsArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    /// Only these channels; otherwise all
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The figures of one channel.
#[derive(Serialize)]
struct Figures {
    channel: String,
    height: u64,
    /// Number of the first block from which on no block is missing.
    horizon: u64,
    /// Number of blocks from the horizon on, and their size.
    blocks: u64,
    block_bytes: u64,
    /// Number of config blocks, also before the horizon, and the size of those before it.
    config_blocks: u64,
    history_bytes: u64,
    last_config_block: u64,
    /// Number of acknowledged envelopes that are in no block yet.
    pending_envelopes: u64,
    /// Size of the files on disk, and the part of it that contains no block.
    used_bytes: u64,
    wasted_bytes: u64,
    last_block_hash: String,
    /// Timestamp of the last envelope of the last block, as its client set it: seconds since 1970, and seconds ago.
    last_block_at: Option<i64>,
    last_block_age_s: Option<i64>,
}

pub(super) fn stats(arguments: &StatsArguments, place: &Ledgers) -> anyhow::Result<ExitCode> {
    let store = store(place)?;
    let mut all = Vec::new();
    for id in channels(&store, &arguments.channel)? {
        let figures = figures(&store, &id)?;
        if !arguments.json {
            say!("{}", figures.text());
        }
        all.push(figures);
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&all).context("print")?);
    } else if all.is_empty() {
        say!("no channel has a ledger in {}", place.location.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn figures(store: &LedgerProvider, id: &ChannelId) -> anyhow::Result<Figures> {
    let ledger = store.open(id)?;
    let mut progress = Progress::of(format!("counting {id}"), ledger.height() - ledger.horizon().0);
    let stats = ledger.stats(&mut |done| progress.at(done))?;
    let last = ledger.last_block();
    let last_block_at = ledger.block(last.number())?.as_ref().and_then(made_at);
    Ok(Figures {
        channel: id.to_string(),
        height: stats.height,
        horizon: stats.horizon.0,
        blocks: stats.blocks,
        block_bytes: stats.block_bytes,
        config_blocks: stats.config_blocks,
        history_bytes: stats.history_bytes,
        last_config_block: last.last_config().0,
        pending_envelopes: stats.pending,
        used_bytes: stats.file_bytes + stats.pending_file_bytes,
        wasted_bytes: stats.wasted_bytes(),
        last_block_hash: orderer_core::crypto::hex(last.header_hash()),
        last_block_at,
        last_block_age_s: last_block_at.map(|at| unix_now().0.saturating_sub(at)),
    })
}

/// Returns the time of the block's last envelope, since a block has no time of its own.
fn made_at(block: &EncodedBlock) -> Option<i64> {
    let last = block.decode().data?.data.pop()?;
    let message = SignedEnvelope::parse(last).and_then(ParsedEnvelope::parse).ok()?;
    message.channel_header.timestamp.map(|timestamp| timestamp.seconds)
}

impl Figures {
    fn text(&self) -> String {
        let horizon = if self.horizon == 0 { String::new() } else { format!(", pruned before {}", self.horizon) };
        let age = self.last_block_age_s.map_or("of unknown age".to_owned(), age);
        format!(
            "{}\n  height       {}{horizon}\n  blocks       {}, {}\n  config       {}, the last is {}\n  \
             last block   {age}, hash {}\n  on the disk  {}, {} of it without a block\n  pending      {}",
            self.channel,
            self.height,
            self.blocks,
            size(self.block_bytes),
            counted(self.config_blocks, "block"),
            self.last_config_block,
            self.last_block_hash,
            size(self.used_bytes),
            size(self.wasted_bytes),
            counted(self.pending_envelopes, "envelope"),
        )
    }
}

/// Formats an age in its two largest units.
fn age(seconds: i64) -> String {
    let Ok(seconds) = u64::try_from(seconds) else { return "from the future".to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s old"),
        (0, 0, minutes) => format!("{minutes} min {} s old", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min old"),
        (days, hours, _) => format!("{days} d {hours} h old"),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(59), "59 s old");
        assert_eq!(age(61), "1 min 1 s old");
        assert_eq!(age(3600), "1 h 0 min old");
        assert_eq!(age(90_000), "1 d 1 h old");
        assert_eq!(age(-1), "from the future");
    }
}
