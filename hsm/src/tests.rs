//! The pool with a token that fails, stalls and returns as told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use orderer_core::crypto::{SignError, Signer as _};
use rcgen::{CertificateParams, KeyPair};

use crate::library::{TokenLibrary, TokenSession};
use crate::{KeyIds, PoolLimits, TokenError, TokenKey, TokenPool, TokenSigner};

/// The behaviour of the token.
#[derive(Default)]
struct Behaviour {
    is_gone: AtomicBool,
    /// Calls to sign wait while this is true.
    stalls: Mutex<bool>,
    goes_on: Condvar,
    wrong_pin: AtomicBool,
    /// Sessions that were opened before this number are invalid.
    sessions: AtomicUsize,
    valid_from: AtomicUsize,
    open: AtomicUsize,
    connects: AtomicUsize,
    logins: AtomicUsize,
    /// Sessions that were open when the library was initialized anew.
    open_at_connect: AtomicUsize,
    signing_now: AtomicUsize,
    most_at_once: AtomicUsize,
}

struct FakeToken {
    behaviour: Arc<Behaviour>,
    key: Arc<EcdsaKeyPair>,
}

struct FakeSession {
    behaviour: Arc<Behaviour>,
    key: Arc<EcdsaKeyPair>,
    number: usize,
}

fn gone() -> TokenError {
    TokenError::Call("the token was removed".to_owned())
}

impl TokenLibrary for FakeToken {
    fn label(&self) -> &'static str {
        "fake"
    }

    fn connect(&self) -> Result<(), TokenError> {
        self.behaviour.connects.fetch_add(1, Ordering::SeqCst);
        self.behaviour.open_at_connect.fetch_add(self.behaviour.open.load(Ordering::SeqCst), Ordering::SeqCst);
        if self.behaviour.is_gone.load(Ordering::SeqCst) { Err(gone()) } else { Ok(()) }
    }

    fn session(&self) -> Result<Box<dyn TokenSession>, TokenError> {
        let behaviour = Arc::clone(&self.behaviour);
        if behaviour.is_gone.load(Ordering::SeqCst) {
            return Err(gone());
        }
        behaviour.logins.fetch_add(1, Ordering::SeqCst);
        if behaviour.wrong_pin.load(Ordering::SeqCst) {
            return Err(TokenError::Pin { label: "fake".to_owned(), cause: "incorrect".to_owned() });
        }
        behaviour.open.fetch_add(1, Ordering::SeqCst);
        let number = behaviour.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeSession { behaviour, key: Arc::clone(&self.key), number }))
    }
}

impl TokenSession for FakeSession {
    fn sign(&mut self, _: &TokenKey, digest: &[u8; 32]) -> Result<Vec<u8>, TokenError> {
        let behaviour = &self.behaviour;
        let now = behaviour.signing_now.fetch_add(1, Ordering::SeqCst) + 1;
        behaviour.most_at_once.fetch_max(now, Ordering::SeqCst);
        let mut stalls = behaviour.stalls.lock().expect("a lock");
        while *stalls {
            stalls = behaviour.goes_on.wait(stalls).expect("a lock");
        }
        drop(stalls);
        behaviour.signing_now.fetch_sub(1, Ordering::SeqCst);
        if behaviour.is_gone.load(Ordering::SeqCst) || self.number < behaviour.valid_from.load(Ordering::SeqCst) {
            return Err(gone());
        }
        Ok(raw(&self.key, digest))
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.behaviour.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Signs a digest as a token does: r and s of 32 bytes each.
fn raw(key: &EcdsaKeyPair, digest: &[u8; 32]) -> Vec<u8> {
    let digest = Digest::import_less_safe(digest, &SHA256).expect("a digest");
    key.sign_digest(&digest).expect("signs").as_ref().to_vec()
}

struct World {
    behaviour: Arc<Behaviour>,
    pool: Arc<TokenPool>,
    signer: TokenSigner,
}

const QUICK: PoolLimits = PoolLimits {
    sessions: 3,
    patience: Duration::from_secs(20),
    call: Duration::from_secs(20),
    check_every: Duration::from_millis(10),
    probe_every: Duration::from_secs(3600),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(20),
};

fn world(limits: PoolLimits) -> World {
    let pair = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::default().self_signed(&pair).expect("a certificate").pem();
    let key = Arc::new(
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der()).expect("reads"),
    );
    let behaviour = Arc::new(Behaviour::default());
    let pool = TokenPool::open(FakeToken { behaviour: Arc::clone(&behaviour), key }, limits).expect("opens");
    let signer = TokenSigner::new("Org", certificate.as_bytes(), &KeyIds::default(), &pool).expect("a signer");
    World { behaviour, pool, signer }
}

impl Behaviour {
    fn stall(&self, stalls: bool) {
        *self.stalls.lock().expect("a lock") = stalls;
        self.goes_on.notify_all();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_invalid_session_is_renewed_without_anyone_noticing() {
    let World { behaviour, pool, signer } = world(QUICK);
    behaviour.valid_from.store(behaviour.sessions.load(Ordering::SeqCst), Ordering::SeqCst);
    for _ in 0..20 {
        signer.sign(b"message").expect("signs");
    }
    let status = pool.status();
    assert_eq!((status.away, status.outages, status.failures), (None, 0, 0));
    assert_eq!(status.signatures, 21);
}

#[test]
fn a_token_that_goes_away_comes_back_and_what_waited_is_signed() {
    let World { behaviour, pool, signer } = world(QUICK);
    behaviour.is_gone.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| signer.sign(b"message"))).collect();
        until("it is away and was tried again", || pool.status().away.is_some_and(|away| away.attempts >= 3));
        let away = pool.status().away.expect("away");
        assert!(away.cause.contains("removed") && !away.gave_up, "{away:?}");
        behaviour.is_gone.store(false, Ordering::SeqCst);
        for waits in waiting {
            assert!(waits.join().expect("no panic").is_ok());
        }
    });
    let status = pool.status();
    assert_eq!((status.away, status.outages, status.waiting), (None, 1, 0));
    assert_eq!(
        behaviour.open_at_connect.load(Ordering::SeqCst),
        0,
        "no session is open when the library is initialized"
    );
}

#[test]
fn the_wait_for_a_token_is_bounded_and_says_why() {
    let World { behaviour, pool, signer } = world(PoolLimits { patience: Duration::from_millis(200), ..QUICK });
    behaviour.is_gone.store(true, Ordering::SeqCst);
    let error = signer.sign(b"message").expect_err("nobody signs");
    assert!(error.is_temporary() && error.to_string().contains("'fake'"), "{error}");
    // on a busy machine the wait may end before the token was called
    until("it is noticed", || pool.status().away.is_some());
    let error = signer.sign(b"message").expect_err("nobody signs");
    assert!(error.to_string().ends_with("the token was removed"), "{error}");
    until("nothing waits", || pool.status().waiting == 0);
}

#[test]
fn a_refused_pin_is_tried_once() {
    let World { behaviour, pool, signer } = world(PoolLimits { patience: Duration::from_millis(200), ..QUICK });
    behaviour.wrong_pin.store(true, Ordering::SeqCst);
    behaviour.valid_from.store(usize::MAX, Ordering::SeqCst);
    let logins = behaviour.logins.load(Ordering::SeqCst);
    signer.sign(b"message").expect_err("nobody signs");
    // on a busy machine the wait may end before the token was called
    until("it is given up", || pool.status().away.is_some_and(|away| away.gave_up));
    let error = signer.sign(b"message").expect_err("nobody signs");
    assert!(error.to_string().contains("incorrect"), "{error}");
    assert!(behaviour.logins.load(Ordering::SeqCst) <= logins + QUICK.sessions);
    let connects = behaviour.connects.load(Ordering::SeqCst);
    std::thread::sleep(10 * QUICK.longest_pause);
    assert_eq!(behaviour.connects.load(Ordering::SeqCst), connects, "it is not tried again");
}

#[test]
fn several_signatures_are_made_at_once_and_no_more_than_sessions() {
    let World { behaviour, pool, signer } = world(QUICK);
    behaviour.stall(true);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..10).map(|_| scope.spawn(|| signer.sign(b"message"))).collect();
        until("all sessions sign", || behaviour.signing_now.load(Ordering::SeqCst) == QUICK.sessions);
        assert!(pool.status().away.is_none());
        behaviour.stall(false);
        assert!(waiting.into_iter().all(|waits| waits.join().expect("no panic").is_ok()));
    });
    assert_eq!(behaviour.most_at_once.load(Ordering::SeqCst), QUICK.sessions);
}

#[test]
fn a_call_that_does_not_return_is_noticed_and_stops_nobody_for_good() {
    let limits = PoolLimits { patience: Duration::from_millis(300), call: Duration::from_millis(100), ..QUICK };
    let World { behaviour, pool, signer } = world(limits);
    behaviour.stall(true);
    signer.sign(b"message").expect_err("nobody signs");
    // on a busy machine the wait may end before the call is noticed
    until("it is noticed", || pool.status().away.is_some());
    let error = signer.sign(b"message").expect_err("nobody signs");
    assert!(error.to_string().contains("has not returned"), "{error}");
    let connects = behaviour.connects.load(Ordering::SeqCst);
    // the library is not initialized anew below a call
    until("it was tried", || pool.status().away.is_some_and(|away| away.attempts > 0));
    assert_eq!(behaviour.connects.load(Ordering::SeqCst), connects);
    behaviour.stall(false);
    until("it is back", || pool.status().away.is_none());
    signer.sign(b"message").expect("signs");
}

#[test]
fn an_idle_token_that_is_gone_is_noticed() {
    let World { behaviour, pool, .. } = world(PoolLimits { probe_every: Duration::from_millis(20), ..QUICK });
    behaviour.is_gone.store(true, Ordering::SeqCst);
    until("it is noticed", || pool.status().away.is_some());
    behaviour.is_gone.store(false, Ordering::SeqCst);
    until("it is back", || pool.status().away.is_none());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let World { pool, .. } = world(QUICK);
    let other = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::default().self_signed(&other).expect("a certificate").pem();
    let refused = TokenSigner::new("Org", certificate.as_bytes(), &KeyIds::default(), &pool);
    assert!(matches!(refused, Err(TokenError::Mismatch { .. })), "{refused:?}");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = CertificateParams::default().self_signed(&ed25519).expect("a certificate").pem();
    let refused = TokenSigner::new("Org", certificate.as_bytes(), &KeyIds::default(), &pool);
    assert!(matches!(refused, Err(TokenError::Kind(_))), "{refused:?}");
}

/// A token that takes long holds up those who wait for it, and nobody else: turns bound the threads, and waiting for one
/// occupies none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_token_occupies_a_bounded_number_of_threads() {
    let World { behaviour, pool, signer } = world(QUICK);
    let signer = Arc::new(signer);
    behaviour.stall(true);
    let blocked = Arc::new(AtomicUsize::new(0));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (pool, signer, blocked) = (Arc::clone(&pool), Arc::clone(&signer), Arc::clone(&blocked));
        waiting.spawn(async move {
            let turn = pool.turn().await?;
            blocked.fetch_add(1, Ordering::SeqCst);
            let signed = tokio::task::spawn_blocking(move || signer.sign(b"message")).await.expect("no panic");
            drop(turn);
            blocked.fetch_sub(1, Ordering::SeqCst);
            signed.map(drop)
        });
    }
    let most = 2 * QUICK.sessions;
    let all_wait = async {
        while blocked.load(Ordering::SeqCst) < most {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_wait).await.expect("as many wait as may");
    // other work goes on meanwhile
    for _ in 0..50 {
        tokio::task::spawn_blocking(|| ()).await.expect("runs");
        assert!(blocked.load(Ordering::SeqCst) <= most);
    }
    behaviour.stall(false);
    while let Some(done) = waiting.join_next().await {
        assert_eq!(done.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn a_turn_waits_for_a_token_that_is_away_for_a_bounded_time() {
    let World { behaviour, pool, signer } = world(PoolLimits { patience: Duration::from_millis(200), ..QUICK });
    behaviour.is_gone.store(true, Ordering::SeqCst);
    let signer = Arc::new(signer);
    let signing = {
        let signer = Arc::clone(&signer);
        tokio::task::spawn_blocking(move || signer.sign(b"message"))
    };
    assert!(signing.await.expect("no panic").is_err_and(|error| error.is_temporary()));
    until("it is noticed", || pool.status().away.is_some());
    let refused = pool.turn().await.expect_err("it is away");
    assert!(matches!(refused, SignError::Unavailable(_)), "{refused}");
    behaviour.is_gone.store(false, Ordering::SeqCst);
    pool.ready().await;
    pool.turn().await.expect("it is back");
    signer.sign(b"message").expect("signs");
}

#[test]
fn threads_end_with_the_pool() {
    let World { behaviour, pool, signer } = world(QUICK);
    let everyone = Arc::new(Barrier::new(QUICK.sessions));
    std::thread::scope(|scope| {
        for _ in 0..QUICK.sessions {
            let (everyone, signer) = (Arc::clone(&everyone), &signer);
            scope.spawn(move || {
                everyone.wait();
                signer.sign(b"message").expect("signs");
            });
        }
    });
    assert!(behaviour.open.load(Ordering::SeqCst) > 0);
    drop((pool, signer));
    assert_eq!(behaviour.open.load(Ordering::SeqCst), 0, "no thread calls the library any more");
}
