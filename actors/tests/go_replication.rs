//! Catches up from orderers of Fabric. Needs running orderers: see the section `replication` of tests/run-long.
//!
//! ```text
//! REPLICATION_ORDERER directory of the test's own orderer: tls/server.{crt,key}, and msp with signcerts and keystore
//! REPLICATION_MSP     its MSP (OrdererMSP)
//! REPLICATION_GENESIS the genesis block of a channel of which at least some orderers run
//! ```

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_actors::replication::{
    Batch, BlockRange, CatchUpProgress, ReplicationContext, StartPoint, catch_up, fetch_latest_config,
};
use orderer_cluster::{
    BlockEndpoint, BlockSources as _, DeliverClient, Identity, PullError, PullSettings, RequestSigner, Roots,
};
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::crypto::{Signer as _, SigningIdentity, SigningKey};
use orderer_core::replication::{RetryDelays, endpoints};
use orderer_core::types::BlockNumber;
use tokio::sync::{mpsc, watch};

struct Signs {
    identity: SigningIdentity,
    well: bool,
}

impl RequestSigner for Signs {
    fn creator(&self) -> Bytes {
        self.identity.creator().clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
        let message = if self.well { message } else { b"another" };
        self.identity.sign(message).map_err(|error| error.to_string())
    }
}

fn only_file(folder: &Path) -> Vec<u8> {
    let file = std::fs::read_dir(folder).unwrap().next().expect("a file").unwrap();
    std::fs::read(file.path()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs orderers of Fabric"]
async fn a_chain_is_got_from_orderers_of_fabric() {
    let folder = PathBuf::from(std::env::var("REPLICATION_ORDERER").expect("REPLICATION_ORDERER"));
    let msp = std::env::var("REPLICATION_MSP").unwrap_or_else(|_| "OrdererMSP".to_owned());
    let genesis = std::fs::read(std::env::var("REPLICATION_GENESIS").expect("REPLICATION_GENESIS")).unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tls = || Identity::from_pem(&read("tls/server.crt"), &read("tls/server.key")).unwrap();
    let signs = |well| {
        let key = SigningKey::from_pem(&only_file(&folder.join("msp/keystore"))).unwrap();
        let identity = SigningIdentity::new(&msp, &only_file(&folder.join("msp/signcerts")), key).unwrap();
        Signs { identity, well }
    };
    let runtime = tokio::runtime::Handle::current();
    let client = |well| DeliverClient::new(PullSettings::default(), tls(), signs(well), runtime.clone());

    let genesis = EncodedBlock::parse(&genesis).unwrap();
    let snapshot = ChannelSnapshot::from_config_block(&genesis.decode(), &Arc::<ConfigCache>::default()).unwrap();
    let channel = snapshot.channel().clone();
    let tip = ChainTip::of(&genesis, snapshot.clone());
    let mut height = 0;
    for endpoint in endpoints(&snapshot) {
        let endpoint = BlockEndpoint { address: endpoint.address, roots: Roots::new(endpoint.authorities) };
        let heights = [true, false].map(|well| client(well).height(channel.as_str(), &endpoint));
        let [well, badly] = heights;
        let (well, badly) = (well.await, badly.await);
        println!("{}: {well:?}; with a wrong signature: {badly:?}", endpoint.address);
        if let Ok(of_one) = well {
            height = height.max(of_one);
            assert_eq!(badly, Err(PullError::Forbidden));
        }
    }
    assert!(height > 1, "nobody has blocks");

    let replication = ReplicationContext::new(Arc::new(client(true)), RetryDelays::default(), 1 << 20, 4 << 20);
    let newest = fetch_latest_config(&replication, &tip).await.unwrap();
    println!("the newest config block is {} of {} blocks, says {}", newest.number, newest.height, newest.source);

    let (give, mut batches) = mpsc::channel::<Batch>(1);
    let (tell, progress) = watch::channel(CatchUpProgress::default());
    let to = BlockNumber(height - 1);
    let goal = BlockRange { start: StartPoint::After(tip), to, hash: None, also: Vec::new() };
    let began = Instant::now();
    let catching_up = async {
        let outcome = catch_up(&replication, goal, &give, &tell).await;
        drop(give);
        outcome
    };
    let taking = async {
        let (mut blocks, mut bytes, mut config) = (0u64, 0, BlockNumber::GENESIS);
        while let Some(batch) = batches.recv().await {
            for verified in &batch.blocks {
                blocks += 1;
                bytes += verified.block.size_bytes();
                assert_eq!(verified.block.number().0, blocks);
                if verified.snapshot.is_some() {
                    config = verified.block.number();
                }
            }
        }
        (blocks, bytes, config)
    };
    let both = tokio::time::timeout(Duration::from_secs(300), async { tokio::join!(catching_up, taking) });
    let (outcome, (blocks, bytes, config)) = both.await.expect("it ends");
    outcome.unwrap();
    println!("{blocks} blocks of {bytes} bytes in {:?}; {:?}", began.elapsed(), *progress.borrow());
    assert_eq!(blocks, height - 1);
    assert_eq!(config, newest.number, "the newest configuration is that which the chain leads to");
}
