//! `orderer client broadcast`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use async_stream::try_stream;
use bytes::Bytes;
use fabric_proto::common::Status;
use futures_util::Stream;
use orderer_core::crypto::Signer;
use orderer_core::envelope::SignedEnvelope;
use rand::RngCore as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::ConnectArguments;
use crate::commands::terminal::printable;
use orderer_client::{OutgoingEnvelope, broadcast_all, transaction};

/// Maximum size in bytes of a line of standard input.
const LINE_MAX_BYTES: u64 = 64 << 20;

pub(super) const AFTER_HELP: &str = "\
Each FILE contains one serialized envelope, which is sent unchanged. Without
files, each line of standard input becomes the payload of a signed transaction;
with --generate, payloads are random bytes. Peers mark these transactions
invalid. Prints a line for each response: status, file or transaction ID, and
the orderer's text.

Try it:
  seq 3 | orderer client broadcast
  orderer client broadcast update.tx -o localhost:7050
  orderer client broadcast --generate 1000 --payload-bytes 500

Exit codes:
  0  every envelope was accepted
  1  an envelope was rejected, or the node cannot be reached
  2  the arguments are invalid";

#[derive(Debug, clap::Args)]
pub struct BroadcastArguments {
    /// Files with envelopes to send [default: lines of standard input, or --generate]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Channel of new transactions [default: the development network's]
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
    channel: Option<String>,
    /// Send this number of random transactions; print rejections and a summary only
    #[arg(long, value_name = "COUNT", conflicts_with = "files")]
    generate: Option<u64>,
    /// Size of a generated payload in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(..=64 << 20))]
    payload_bytes: u32,
    /// Maximum number of unanswered envelopes
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    #[command(flatten)]
    connect: ConnectArguments,
}

type Items = Pin<Box<dyn Stream<Item = anyhow::Result<OutgoingEnvelope>>>>;

pub(super) async fn run(arguments: BroadcastArguments) -> anyhow::Result<ExitCode> {
    let connecting = arguments.connect.resolve()?;
    let signer = Arc::clone(&connecting.signer);
    let items = if arguments.files.is_empty() {
        let channel = connecting.channel(arguments.channel.as_deref())?;
        if let Some(count) = arguments.generate {
            generated(count, arguments.payload_bytes, channel, signer)
        } else {
            if std::io::stdin().is_terminal() {
                eprintln!("every line becomes a transaction on {channel}; end with Ctrl-D");
            }
            lines(channel, signer)
        }
    } else {
        files(arguments.files)
    };
    let orderer = connecting.connect().await?;
    let (mut answers, each) = (BTreeMap::<&str, u64>::new(), arguments.generate.is_none());
    let done = broadcast_all(&orderer, items, arguments.window.into(), |item, status, info| {
        *answers.entry(status.as_str_name()).or_default() += 1;
        if each || status != Status::Success {
            let separator = if info.is_empty() { "" } else { ": " };
            // a write error is ignored: the remaining envelopes are sent even if the reader of the output is gone
            say!("{} {}{separator}{}", status.as_str_name(), item.name, printable(info));
        }
        anyhow::Ok(())
    })
    .await;
    if !each {
        for (status, count) in &answers {
            say!("{count} {status}");
        }
    }
    done?;
    let refused = answers.keys().any(|status| *status != Status::Success.as_str_name());
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn files(paths: Vec<PathBuf>) -> Items {
    Box::pin(try_stream! {
        for path in paths {
            let name = path.display().to_string();
            let bytes = tokio::fs::read(&path).await.with_context(|| format!("read {name}"))?;
            let envelope = SignedEnvelope::parse(bytes.into()).with_context(|| format!("{name} is no envelope"))?;
            yield OutgoingEnvelope { name, envelope: envelope.raw().clone() };
        }
    })
}

fn lines(channel: String, signer: Arc<dyn Signer>) -> Items {
    Box::pin(try_stream! {
        let mut input = BufReader::new(tokio::io::stdin()).take(0);
        loop {
            let mut line = Vec::new();
            input.set_limit(LINE_MAX_BYTES + 1);
            input.read_until(b'\n', &mut line).await.context("read standard input")?;
            if line.is_empty() {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if line.len() as u64 > LINE_MAX_BYTES {
                Err(anyhow::anyhow!("a line of standard input has more than {LINE_MAX_BYTES} bytes"))?;
            }
            yield item(&channel, &*signer, line.into())?;
        }
    })
}

fn generated(count: u64, payload_bytes: u32, channel: String, signer: Arc<dyn Signer>) -> Items {
    Box::pin(try_stream! {
        for _ in 0..count {
            let mut data = vec![0; payload_bytes as usize];
            rand::rng().fill_bytes(&mut data);
            yield item(&channel, &*signer, data.into())?;
        }
    })
}

fn item(channel: &str, signer: &dyn Signer, data: Bytes) -> anyhow::Result<OutgoingEnvelope> {
    let (name, envelope) = transaction(signer, channel, data)?;
    Ok(OutgoingEnvelope { name, envelope: envelope.raw().clone() })
}
