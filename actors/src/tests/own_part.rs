//! A node writes a channel's blocks only with an identity that BlockValidation accepts, and with one writer at a time.

use super::*;
use crate::participation::RemoveError;
use orderer_core::own::OwnSigner;

/// A member of an application's organization: no policy lets it sign blocks.
fn stranger() -> OwnSigner {
    let msp = Path::new(NET).join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp");
    let file = |folder: &str| {
        let first = std::fs::read_dir(msp.join(folder)).unwrap().next().unwrap().unwrap();
        std::fs::read(first.path()).unwrap()
    };
    let key = SigningKey::from_pem(&file("keystore")).unwrap();
    OwnSigner::new(Arc::new(SigningIdentity::new("Org1MSP", &file("signcerts"), key).unwrap()))
}

#[actix::test]
async fn no_block_is_written_whose_signature_peers_would_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    world.context.signer.replace(stranger());
    assert!(world.order_and_wait("app", "one").await, "it is on the disk, in no block");
    let is_failed = |state: &ChannelState| matches!(state, ChannelState::Failed { .. });
    let failed = world.until("app", is_failed).await.to_string();
    for part in ["do not satisfy BlockValidation of channel app", "Org1MSP", "General.LocalMSPID"] {
        assert!(failed.contains(part), "{failed}");
    }
    assert_eq!(world.channel("app").ledger().height(), 1);
    assert!(!world.order_and_wait("app", "two").await, "the gate is closed");
    assert_eq!(world.channel("syschan").state(), ChannelState::Running, "it has signed nothing meanwhile");

    // at the start of a chain, before anything is taken
    world.restart("app").await.unwrap();
    world.until("app", is_failed).await;
    assert_eq!(world.channel("app").ledger().pending().unwrap().len(), 1);

    world.context.signer.replace(OwnSigner::new(Arc::clone(&world.signer) as Arc<dyn Signer>));
    world.restart("app").await.unwrap();
    world.until_height("app", 2).await;
    assert_eq!(world.chain("app"), ["one"]);
}

#[actix::test]
async fn a_chain_owns_the_right_to_write_until_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let ledger = Arc::clone(world.channel("app").ledger());
    assert!(ledger.try_write_permit().is_none(), "its writer has it");
    assert!(world.order_and_wait("app", "one").await);
    assert!(ledger.try_write_permit().is_none());
    let waiting = ledger.write_permit();
    world.tree.stop().await;
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is given back");
}

/// The registrar fails while commits are in flight: the next chain begins behind the last of them.
#[actix::test]
async fn a_successor_begins_behind_all_that_its_predecessor_writes() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppSolo.block", HEALING).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let stuck = crate::fail_points::FailAction::Stuck(Duration::from_millis(100));
        world.context.status_board.fail_points().set("registrar/app/block-writer:Commit", stuck, 2);
        let mut answers = Vec::new();
        for i in 0..12 {
            let text = format!("{round}-{i}");
            answers.push((text.clone(), world.order("app", &text).await.expect("the gate is open")));
        }
        let registrar = world.tree.registrar().await.expect("a registrar");
        let _ = registrar.send(PanicNow).await;
        for (text, answer) in answers {
            if matches!(answer.await, Ok(Ok(()))) {
                acknowledged.push(text);
            }
        }
        let mut tried = 0;
        loop {
            world.until("app", |state| *state == ChannelState::Running).await;
            let text = format!("{round} after {tried}");
            tried += 1;
            if world.order_and_wait("app", &text).await {
                acknowledged.push(text);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let mut heights = world.channel("app").ledger().heights();
    while !acknowledged.iter().all(|text| world.chain("app").contains(text)) {
        tokio::time::timeout(PATIENCE, heights.changed()).await.expect("nothing is lost").unwrap();
    }
    let chain = world.chain("app");
    for text in &acknowledged {
        assert_eq!(chain.iter().filter(|other| *other == text).count(), 1, "{text}");
    }
}

#[actix::test]
async fn of_two_restarts_of_a_broken_channel_one_opens_it_and_no_removal_comes_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let id = ChannelId::parse("broken").unwrap();
    let file = {
        let ledgers = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 0 }).unwrap();
        let block = EncodedBlock::parse(&std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap();
        drop(ledgers.create(&id, &block).unwrap());
        ledgers.path(&id)
    };
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "garbage").unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(matches!(world.context.directory.get("broken"), Some(ChannelEntry::Unavailable(_))));
    std::fs::write(&file, good).unwrap();
    // the first opens the ledger only when the others were asked for
    let opening = Arc::clone(&world.context.ledger_open_permits);
    let held = opening.acquire_many_owned(LEDGERS_AT_ONCE).await.unwrap();
    let last = async {
        let removed = world.context.membership.remove(id).await;
        drop(held);
        removed
    };
    let (first, second, removed) = tokio::join!(world.restart("broken"), world.restart("broken"), last);
    assert_eq!(first, Ok(()));
    assert_eq!(second, Err(RestartError::OperationPending("restart")));
    assert_eq!(removed, Err(RemoveError::OperationPending("restart")));
    world.until("broken", |state| *state == ChannelState::Running).await;
    assert!(world.order_and_wait("broken", "one").await, "it is within reach");
}
