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

/// Signed envelopes, distributed evenly over channels.
pub struct Workload {
    envelopes: Vec<Bytes>,
    channels: usize,
    streams: usize,
    mark: [u8; MARK_BYTES],
    key: PublicKey,
}

impl Workload {
    /// Creates and signs `count` envelopes for `channels`, on all cores. Each of the `streams` that send them reaches all
    /// channels in turn. Reports their number to `tell`, now and then.
    pub fn sign(
        count: usize,
        payload: Payload,
        channels: &[String],
        streams: usize,
        signer: &dyn Signer,
        tell: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Self> {
        let (mut mark, mut filling) = ([0; MARK_BYTES], vec![0; payload.0.max(HEAD_BYTES)]);
        rand::rng().fill_bytes(&mut mark);
        rand::rng().fill_bytes(&mut filling);
        filling[..MARK_BYTES].copy_from_slice(&mark);
        let longest = channels.iter().max_by_key(|channel| channel.len()).context("no channel to sign for")?;
        let make_for = |channel: &str, number: usize| -> anyhow::Result<Bytes> {
            let mut data = filling.clone();
            data[MARK_BYTES..HEAD_BYTES].copy_from_slice(&(number as u64).to_be_bytes());
            Ok(transaction(signer, channel, data.into())?.1.raw().clone())
        };
        let make = |number: usize| make_for(&channels[channel_of(number, streams, channels.len())], number);
        let one = make_for(longest, 0)?.len();
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
        Ok(Self { envelopes, channels: channels.len(), streams, mark, key: public_key(signer)? })
    }

    /// Returns the number of envelopes.
    pub fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Returns whether there are no envelopes.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// Returns the index of the channel that an envelope is for.
    pub(super) fn channel_of(&self, number: usize) -> usize {
        channel_of(number, self.streams, self.channels)
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

/// Returns the index of an envelope's channel. Envelope `number` is sent by stream `number % streams`; each stream sends
/// to the channels in turn, and begins one channel behind the stream before it.
fn channel_of(number: usize, streams: usize, channels: usize) -> usize {
    let (turn, stream) = (number / streams.max(1), number % streams.max(1));
    (turn + stream) % channels.max(1)
}

/// Returns the key that verifies a signer's signatures.
pub fn public_key(signer: &dyn Signer) -> anyhow::Result<PublicKey> {
    let identity = SerializedIdentity::decode(signer.creator().clone())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&identity.id_bytes).context("the signer's certificate")?;
    let certificate = pem.parse_x509().context("the signer's certificate")?;
    Ok(PublicKey::from_spki_der(certificate.public_key().raw)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_sends_to_the_channels_in_turn_and_all_channels_receive_as_many() {
        for (streams, channels) in [(1, 1), (8, 1), (1, 7), (8, 8), (8, 9), (8, 64), (3, 2), (64, 1000)] {
            let mut totals = vec![0_usize; channels];
            for stream in 0..streams {
                let sent: Vec<_> = (0..3 * channels).map(|turn| turn * streams + stream).collect();
                let to: Vec<_> = sent.iter().map(|number| channel_of(*number, streams, channels)).collect();
                assert!(to.windows(2).all(|pair| pair[1] == (pair[0] + 1) % channels), "{streams} {channels}: {to:?}");
                for channel in to {
                    totals[channel] += 1;
                }
            }
            assert_eq!(totals, vec![3 * streams; channels], "{streams} streams");
        }
    }
}
