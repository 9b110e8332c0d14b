//! A signer whose key is away for a while: no chain fails, nothing is lost, and nothing is written without a signature.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orderer_core::own::OwnSigner;

use super::*;

/// Signs as the orderer of the fixture network, unless its key is away.
#[derive(Default)]
pub(super) struct Key {
    pub(super) is_away: AtomicBool,
    pub(super) refused: AtomicUsize,
}

struct AwaySigner(TestSigner, Arc<Key>);

impl Signer for AwaySigner {
    fn creator(&self) -> &Bytes {
        self.0.creator()
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        if self.1.is_away.load(Ordering::SeqCst) {
            self.1.refused.fetch_add(1, Ordering::SeqCst);
            return Err(SignError::unavailable("the token was removed"));
        }
        self.0.sign(message)
    }
}

/// Makes the node sign with a key that can go away; it is there at first.
pub(super) fn sign_with_token(context: &NodeContext) -> Arc<Key> {
    let key = Arc::new(Key::default());
    context.signer.replace(OwnSigner::new(Arc::new(AwaySigner(TestSigner::new(), Arc::clone(&key)))));
    key
}

fn is_waiting(state: &ChannelState) -> bool {
    matches!(state, ChannelState::AwaitingKey { .. })
}

/// Waits until the key was asked for so often that a chain that counts as failing would have failed for good.
async fn until_refused_often(key: &Key) {
    let often = async {
        while key.refused.load(Ordering::SeqCst) <= 2 * POLICY.limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the chain is built again", often).await;
}

#[actix::test]
async fn a_solo_channel_waits_for_its_key_and_goes_on_with_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let key = sign_with_token(&world.context);
    key.is_away.store(true, Ordering::SeqCst);
    assert!(world.order_and_wait("app", "one").await, "it is on the disk, in no block");
    // the timer cuts the block, which cannot be signed
    let state = world.until("app", is_waiting).await;
    assert!(state.to_string().contains("the token was removed"), "{state}");
    assert!(!world.order_and_wait("app", "refused").await, "the gate is closed");
    until_refused_often(&key).await;
    assert!(is_waiting(&world.channel("app").state()), "{}", world.channel("app").state());
    assert_eq!(world.channel("app").ledger().height(), 1);
    key.is_away.store(false, Ordering::SeqCst);
    world.until_height("app", 2).await;
    assert_eq!(world.chain("app"), ["one"]);
    world.until("app", |state| *state == ChannelState::Running).await;
    assert!(world.order_and_wait("app", "two").await);
}

#[actix::test]
async fn envelopes_of_a_block_that_cannot_be_signed_are_answered_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let key = sign_with_token(&world.context);
    assert!(world.order_and_wait("app", "first").await);
    world.until_height("app", 2).await;
    key.is_away.store(true, Ordering::SeqCst);
    // one block, which the last of them cuts
    let limit = world.channel("app").snapshot().orderer().batch_size.limits().max_message_count;
    let (mut answers, mut acknowledged) = (Vec::new(), vec!["first".to_owned()]);
    for number in 0..limit {
        let text = number.to_string();
        answers.extend(world.order("app", &text).await.map(|answer| (text, answer)));
    }
    for (text, answer) in answers {
        match answer.await {
            // it was logged before the block was cut
            Ok(Ok(())) => acknowledged.push(text),
            Ok(Err(refused)) => assert!(refused.to_string().contains("the token was removed"), "{refused}"),
            // it came after the chain had ended
            Err(_) => {}
        }
    }
    assert!(acknowledged.len() <= limit as usize, "the last one needs the block");
    world.until("app", is_waiting).await;
    key.is_away.store(false, Ordering::SeqCst);
    world.until("app", |state| *state == ChannelState::Running).await;
    acknowledged.push("after".to_owned());
    assert!(world.order_and_wait("app", "after").await);
    let mut heights = world.channel("app").ledger().heights();
    while world.chain("app").len() < acknowledged.len() {
        heights.changed().await.unwrap();
    }
    assert_eq!(world.chain("app"), acknowledged);
}

#[actix::test]
async fn a_kafka_channel_waits_for_its_key_and_writes_each_message_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppKafka.block", POLICY).await;
    let key = sign_with_token(&world.context);
    key.is_away.store(true, Ordering::SeqCst);
    assert!(world.order_and_wait("app", "one").await, "it is in the topic");
    world.until("app", is_waiting).await;
    until_refused_often(&key).await;
    key.is_away.store(false, Ordering::SeqCst);
    world.until_height("app", 2).await;
    assert_eq!(world.chain("app"), ["one"]);
}
