//! The envelopes to send, created before the clock runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use fabric_proto::common::{Envelope, Payload as PayloadMessage};
use fabric_proto::msp::SerializedIdentity;
use orderer_core::crypto::{PublicKey, Signer};
use orderer_core::envelope::SignedEnvelope;
use prost::Message as _;
use rand::RngCore as _;

use orderer_client::transaction;

/// Maximum size in bytes of all signed envelopes together.
const LOAD_MAX_BYTES: usize = 1 << 30;
/// Head of every payload: a mark of this load, and the envelope's number.
const MARK_BYTES: usize = 8;
const HEAD_BYTES: usize = MARK_BYTES + 8;

/// Size of the payloads, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Payload(pub usize);

impl Payload {
    /// Minimum size in bytes, which has space for the head.
    pub const MIN_BYTES: usize = HEAD_BYTES;
}

/// When envelopes are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadMode {
    /// The next when one is answered.
    Closed,
    /// At this rate per second, whatever the responses do.
    Rate(f64),
}

/// Signed envelopes for one channel.
pub struct Workload {
    envelopes: Vec<Bytes>,
    mark: [u8; MARK_BYTES],
    key: PublicKey,
}

impl Workload {
    /// Creates and signs `count` envelopes, on all cores. Reports their number to `tell`, now and then.
    pub fn sign(
        count: usize,
        payload: Payload,
        channel: &str,
        signer: &dyn Signer,
        tell: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Self> {
        let (mut mark, mut filling) = ([0; MARK_BYTES], vec![0; payload.0.max(HEAD_BYTES)]);
        rand::rng().fill_bytes(&mut mark);
        rand::rng().fill_bytes(&mut filling);
        filling[..MARK_BYTES].copy_from_slice(&mark);
        let make = |number: usize| -> anyhow::Result<Bytes> {
            let mut data = filling.clone();
            data[MARK_BYTES..HEAD_BYTES].copy_from_slice(&(number as u64).to_be_bytes());
            Ok(transaction(signer, channel, data.into())?.1.raw().clone())
        };
        let one = make(0)?.len();
        let most = LOAD_MAX_BYTES / one;
        anyhow::ensure!(
            count <= most,
            "{count} envelopes of {one} bytes each are too many to sign beforehand: {most} fit into the {} MiB that are \
             allowed for it",
            LOAD_MAX_BYTES >> 20
        );
        let (threads, made) = (std::thread::available_parallelism().map_or(1, usize::from), AtomicUsize::new(0));
        let share = count.div_ceil(threads).max(1);
        let envelopes = std::thread::scope(|scope| {
            let (make, made) = (&make, &made);
            let workers: Vec<_> = (0..count.div_ceil(share))
                .map(|worker| {
                    let numbers = worker * share..usize::min((worker + 1) * share, count);
                    scope.spawn(move || {
                        numbers
                            .map(|number| {
                                made.fetch_add(1, Ordering::Relaxed);
                                make(number)
                            })
                            .collect::<anyhow::Result<Vec<Bytes>>>()
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                tell(made.load(Ordering::Relaxed));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            let parts =
                workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow::anyhow!("signing panicked"))?);
            anyhow::Ok(parts.collect::<anyhow::Result<Vec<_>>>()?.concat())
        })?;
        tell(count);
        Ok(Self { envelopes, mark, key: public_key(signer)? })
    }

    /// Returns the number of envelopes.
    pub fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Returns whether there are no envelopes.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// Returns one envelope, serialized.
    pub(super) fn envelope(&self, number: usize) -> Bytes {
        self.envelopes[number].clone()
    }

    /// Returns the number of the envelope that an entry of a block is, if it is one of this load.
    pub(super) fn recognize(&self, entry: Bytes) -> Option<usize> {
        let data = PayloadMessage::decode(Envelope::decode(entry).ok()?.payload).ok()?.data;
        let number = data.get(..HEAD_BYTES)?.strip_prefix(&self.mark)?;
        let number = usize::try_from(u64::from_be_bytes(number.try_into().ok()?)).ok()?;
        (number < self.envelopes.len()).then_some(number)
    }

    /// Returns whether the signature of one envelope verifies.
    pub(super) fn verify(&self, number: usize) -> bool {
        let envelope = SignedEnvelope::parse(self.envelopes[number].clone());
        envelope.is_ok_and(|e| self.key.verify(e.payload(), e.signature()).is_ok())
    }

    /// Returns the algorithm of the signer's key.
    pub fn algorithm(&self) -> &'static str {
        self.key.algorithm()
    }

    /// Returns the size of one envelope in bytes.
    pub fn envelope_bytes(&self) -> usize {
        self.envelopes.first().map_or(0, Bytes::len)
    }
}

/// Returns the key that verifies a signer's signatures.
pub fn public_key(signer: &dyn Signer) -> anyhow::Result<PublicKey> {
    let identity = SerializedIdentity::decode(signer.creator().clone())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&identity.id_bytes).context("the signer's certificate")?;
    let certificate = pem.parse_x509().context("the signer's certificate")?;
    Ok(PublicKey::from_spki_der(certificate.public_key().raw)?)
}
