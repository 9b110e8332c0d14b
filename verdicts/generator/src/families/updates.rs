//! Cases with unusual signatures of an update, and with changed encodings.

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, Envelope};

use super::{chain_of, crew, level, one_of, orderers, role};
use crate::der::{self, Node};
use crate::keys::{Kind, key};
use crate::network::{Chain, Signer, channel, n_of, organization, set_anchors, signatures, signed_by, signed_update};
use crate::pem;
use crate::rng::Rng;
use crate::wire;

/// Sets of signatures: unusual ones, duplicates, and those of other identities.
pub(super) fn signers(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let mut what = Vec::new();
    let mut set = Vec::new();
    for _ in 0..=rng.below(5) {
        let (der, own) = rng.pick(&members);
        let signing = if rng.percent(10) { key(Kind::P256, 6) } else { own };
        let mut signer =
            Signer::new(*rng.pick(&["Org1MSP", "Org1MSP", "Org1MSP", "OrdererMSP"]), pem::certificate(der), signing);
        let seed = rng.clone();
        rng.draw();
        let change = rng.below(10);
        signer.change = Box::new(move |mut signature| {
            let mut rng = seed.clone();
            match change {
                0 => signature.clear(),
                1 => signature.extend([0, 0]),
                2 => {
                    if let Some(mut nodes) = Node::parse_all(&signature).filter(|nodes| !nodes.is_empty()) {
                        der::mutate(&mut rng, &mut nodes, None);
                        signature = nodes.iter().flat_map(Node::write).collect();
                    }
                }
                3 => {
                    let junk = rng.bytes(2);
                    der::mutate_octets(&mut rng, &mut signature, &junk);
                }
                4 if signature.first() == Some(&0x30) && signature.len() < 120 => {
                    // one more element inside
                    signature[1] += 2;
                    signature.extend([5, 0]);
                }
                _ => {}
            }
            signature
        });
        if rng.percent(10) {
            signer.certificate = pem::bend(rng, "CERTIFICATE", der, b"").0;
        }
        what.push(change.to_string());
        set.push(signer);
    }
    let n = 1 + rng.below(3) as i32;
    let rules = (0..n).map(|_| signed_by(rng.below(2) as i32)).collect();
    let identities = vec![role("Org1MSP", 0), role("Org1MSP", 1)];
    let described = format!("{level}, {n} of {n}, changes {}", what.join(" "));
    chain_of(chain, level, &config, signatures(n_of(n, rules), identities), &set);
    described
}

/// The encoding of a configuration, or of an update before it is signed, changed at any place.
pub(super) fn wire_mutants(rng: &mut Rng, chain: &mut Chain) -> String {
    let level = level(rng);
    let (config, members) = crew(rng);
    let root = channel(level, orderers(), organization(&config, one_of(role("Org1MSP", 0))));
    let pool: Vec<Vec<u8>> =
        config.root_certs.iter().map(|c| c.to_vec()).chain([pem::certificate(&members[0].0)]).collect();
    let mut what = Vec::new();
    let mut change = |rng: &mut Rng, bytes: Vec<u8>| {
        let Some(mut fields) = wire::parse(&bytes) else { return bytes };
        for _ in 0..=rng.below(2) {
            what.push(wire::mutate(rng, &mut fields, &pool));
        }
        wire::write(&fields)
    };
    chain.push(&root, None);
    if rng.percent(60) {
        let entry = chain.blocks.pop().and_then(|block| Block::decode(block).ok()).and_then(|block| block.data);
        let entry = entry.and_then(|data| data.data.into_iter().next()).unwrap_or_default();
        *chain = Chain::default();
        chain.push_entry(change(rng, entry.to_vec()));
    }
    let signers: Vec<_> = members.iter().map(|(der, key)| Signer::new("Org1MSP", pem::certificate(der), key)).collect();
    let (update, result) = set_anchors(&root, "");
    let update = update.encode_to_vec();
    let odd_update = rng.percent(40);
    let update = if odd_update { change(rng, update) } else { update };
    let mut envelope = signed_update(&update, &signers);
    if rng.percent(15) {
        envelope = Envelope::decode(Bytes::from(change(rng, envelope.encode_to_vec()))).unwrap_or(envelope);
    }
    chain.push(&result, Some(envelope));
    format!("{level}, update odd {odd_update}: {}", what.join(", "))
}
