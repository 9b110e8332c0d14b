//! `orderer sign`: adds a signature to a config update, or signs an envelope.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use fabric_proto::common::{ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, HeaderType, SignatureHeader};
use orderer_actors::node_context::nonce;
use orderer_core::crypto::Signer;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::types::ChannelId;
use prost::Message as _;

use super::identity::SignerArguments;
use super::io;
use orderer_client::{config_update, re_sign};

/// The end of `orderer sign --help`.
pub const AFTER_HELP: &str = "\
If the file is an envelope with a config update (also one that creates a
channel), adds a signature to the update and signs the envelope in the signer's
name, as `peer channel signconfigtx` does. A bare update, as
`orderer config-update` and configtxlator write it, is put into an envelope. Any
other envelope can be signed only by its creator; if it names none, the signer
becomes its creator.

Try it:
  export CORE_PEER_LOCALMSPID=Org1MSP
  export CORE_PEER_MSPCONFIGPATH=users/Admin@org1.example.com/msp
  orderer sign -f update.tx";

/// Arguments of `orderer sign`.
#[derive(Debug, clap::Args)]
pub struct SignArguments {
    /// File with the envelope or update; overwritten unless --output is given
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// File for the signed envelope
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerArguments,
}

/// Adds the signature and writes what was signed.
pub fn run(arguments: &SignArguments) -> anyhow::Result<()> {
    let (signer, msp_id) = arguments.signer.read(None)?;
    let bytes = io::read(Some(&arguments.file))?;
    let Signed { envelope, what } =
        sign(bytes.into(), &signer).with_context(|| arguments.file.display().to_string())?;
    let to = arguments.output.as_ref().unwrap_or(&arguments.file);
    io::write(Some(to), envelope.raw())?;
    say!("{what}, now signed by {msp_id}: {}", to.display());
    Ok(())
}

struct Signed {
    envelope: SignedEnvelope,
    /// Description of the envelope for the output.
    what: String,
}

fn sign(bytes: Bytes, signer: &dyn Signer) -> anyhow::Result<Signed> {
    let parsed = SignedEnvelope::parse(bytes.clone()).and_then(ParsedEnvelope::parse);
    let message = match parsed {
        Ok(message) => message,
        Err(error) => {
            // a bare update does not parse as an envelope
            return sign_bare(bytes, signer)?
                .with_context(|| format!("neither an envelope nor a config update: {error}"));
        }
    };
    let channel = message.channel_header.channel_id.clone();
    if message.channel_header.r#type == HeaderType::ConfigUpdate as i32 {
        anyhow::ensure!(!channel.is_empty(), "the envelope names no channel");
        let mut update = ConfigUpdateEnvelope::decode(message.data).context("no config update in the envelope")?;
        return sign_update(&mut update, &channel, signer);
    }
    let header = message.read_signature_header()?;
    let envelope = if header.creator.is_empty() {
        re_sign(signer, message)?
    } else {
        anyhow::ensure!(header.creator == *signer.creator(), "the envelope is another's: only its creator can sign it");
        SignedEnvelope::sign(message.envelope.payload().clone(), signer)?
    };
    Ok(Signed { envelope, what: format!("envelope for channel {channel}") })
}

/// Signs a bare update. Returns `None` if the bytes are no update.
fn sign_bare(bytes: Bytes, signer: &dyn Signer) -> anyhow::Result<Option<Signed>> {
    let Ok(update) = ConfigUpdate::decode(bytes.clone()) else { return Ok(None) };
    if update.write_set.is_none() {
        return Ok(None);
    }
    let channel = ChannelId::parse(&update.channel_id).context("the update's channel")?;
    let mut update = ConfigUpdateEnvelope { config_update: bytes, signatures: Vec::new() };
    sign_update(&mut update, channel.as_str(), signer).map(Some)
}

/// Adds a signature, which covers its header and the original bytes of the update.
fn sign_update(update: &mut ConfigUpdateEnvelope, channel: &str, signer: &dyn Signer) -> anyhow::Result<Signed> {
    let header = SignatureHeader { creator: signer.creator().clone(), nonce: nonce().to_vec().into() };
    let signature_header = Bytes::from(header.encode_to_vec());
    let signature = signer.sign(&[&signature_header[..], &update.config_update].concat())?;
    update.signatures.push(ConfigSignature { signature_header, signature });
    let envelope = config_update(signer, channel, update)?;
    let count = update.signatures.len();
    let what =
        format!("config update of channel {channel} with {count} signature{}", if count == 1 { "" } else { "s" });
    Ok(Signed { envelope, what })
}
