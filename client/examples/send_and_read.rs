//! Sends one envelope, and waits for the block that contains it.
//!
//!     cargo run -p orderer-client --example send_and_read -- ADDRESS TLS_CA CHANNEL TEXT
//!
//! Signs as the identity that CORE_PEER_MSPCONFIGPATH and CORE_PEER_LOCALMSPID name, as Fabric's `peer` does.

use std::env;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use fabric_proto::common::Status;
use futures_util::StreamExt as _;
use orderer_client::{
    BlockPosition, BlockSummary, ClientTls, DeliverItem, OrdererTarget, seek, seek_info, transaction,
};
use orderer_core::crypto::SigningIdentity;
use orderer_localconfig::local_msp::read_signing_identity;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, authority, channel, text] = &arguments[..] else {
        return Err("expected ADDRESS TLS_CA CHANNEL TEXT".into());
    };
    let msp = env::var("CORE_PEER_MSPCONFIGPATH")?;
    let signer = read_signing_identity(Path::new(&msp), &env::var("CORE_PEER_LOCALMSPID")?)?;
    let block = send_and_read(address, Path::new(authority), channel, text, &signer).await?;
    println!("block {block} contains it");
    Ok(())
}

/// Returns the number of the block that contains the envelope.
pub async fn send_and_read(
    address: &str,
    authority: &Path,
    channel: &str,
    text: &str,
    signer: &SigningIdentity,
) -> Result<u64, Box<dyn Error>> {
    let orderer = OrdererTarget {
        address: address.to_owned(),
        tls: Some(ClientTls::new(authority, None)?),
        connect_timeout: Duration::from_secs(5),
    };
    let client = orderer.connect().await?;

    // subscribe before sending, from the newest block on, so that no block is missed
    let info = seek_info(BlockPosition::Newest, BlockPosition::Number(u64::MAX), true, false);
    let mut blocks = client.deliver(seek(signer, channel, &info, None)?);
    let mut item = blocks.next().await;

    let (id, envelope) = transaction(signer, channel, text.to_owned().into())?;
    let mut responses = client.broadcast(futures_util::stream::once(std::future::ready(envelope.raw().clone())));
    let response = responses.next().await.ok_or("the orderer ended the stream")??;
    if response.status() != Status::Success {
        return Err(format!("{}: {}", response.status().as_str_name(), response.info).into());
    }
    println!("acknowledged {id}");

    while let Some(next) = item {
        match next? {
            DeliverItem::Block(block) => {
                let summary = BlockSummary::of(&block);
                if summary.tx_ids.contains(&id) {
                    return Ok(summary.number);
                }
            }
            DeliverItem::Status(status) => return Err(status.as_str_name().into()),
        }
        item = blocks.next().await;
    }
    Err("the orderer ended the stream".into())
}
