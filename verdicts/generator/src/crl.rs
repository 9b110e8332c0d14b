//! Certificate revocation lists.

use crate::certificate::{Extension, id_ce};
use crate::der::{Node, bits, boolean, explicit, integer, mutate, null, octets, sequence, tag, tlv};
use crate::keys::{Form, Hash, Key, authority_key_identifier};
use crate::rng::Rng;

/// Encodes a regular list of `serials`, issued by a CA.
pub fn plain(key: &Key, issuer: &[u8], identifier: &[u8], serials: &[Vec<u8>]) -> Vec<u8> {
    let time = |text: &str| tlv(tag::UTC_TIME, text.as_bytes());
    let algorithm = key.algorithm(key.hash());
    let entries: Vec<_> = serials.iter().map(|serial| sequence(&[serial.clone(), time("260101000000Z")])).collect();
    let id = Extension::new(&id_ce(35), false, authority_key_identifier(identifier));
    let extensions = explicit(0, &sequence(&[sequence(&[id.oid, id.critical, octets(&id.body)])]));
    let times = [time("260101000000Z"), time("450101000000Z")].concat();
    let tbs = sequence(&[integer(1), algorithm.clone(), issuer.to_vec(), times, sequence(&entries), extensions]);
    let signature = key.sign(key.hash(), &tbs, Form::LowS);
    sequence(&[tbs, algorithm, bits(0, &signature)])
}

/// Encodes a list of `serials`, issued by a CA, with at most one unusual property. Returns its description as well.
#[allow(clippy::too_many_lines, reason = "an arm for each way to be odd")]
pub fn list(rng: &mut Rng, key: &Key, issuer: &[u8], identifier: &[u8], serials: &[Vec<u8>]) -> (Vec<u8>, String) {
    let mut what = "plain";
    let hash = if rng.percent(15) { *rng.pick(&Hash::ALL) } else { key.hash() };
    let algorithm = key.algorithm(hash);
    let time = |text: &str| tlv(tag::UTC_TIME, text.as_bytes());
    let entry = |serial: &Vec<u8>| sequence(&[serial.clone(), time("260101000000Z")]);
    let mut entries: Vec<Vec<u8>> = serials.iter().map(entry).collect();
    let mut extensions = vec![
        Extension::new(&id_ce(35), false, authority_key_identifier(identifier)),
        Extension::new(&id_ce(20), false, integer(1)),
    ];
    let (mut version, mut times) = (integer(1), vec![time("260101000000Z"), time("450101000000Z")]);
    let (mut outer, mut unused, mut trailer, mut form) = (algorithm.clone(), 0, Vec::new(), Form::LowS);
    match rng.below(24) {
        0 => {
            what = "no AKI";
            extensions.remove(0);
        }
        1 => {
            what = "empty AKI";
            extensions[0].body = sequence(&[]);
        }
        2 => {
            what = "AKI that does not parse";
            extensions[0].body = null();
        }
        3 => {
            what = "another AKI";
            extensions[0].body = authority_key_identifier(&[7; 20]);
        }
        4 => {
            what = "version 1";
            version = Vec::new();
            extensions.clear();
        }
        5 => {
            what = "odd version";
            version = integer(rng.below(5) as u64);
        }
        6 => {
            what = "no next update";
            times.truncate(1);
        }
        7 => {
            what = "generalized times";
            times =
                vec![tlv(tag::GENERALIZED_TIME, b"20260101000000Z"), tlv(tag::GENERALIZED_TIME, b"20250101000000Z")];
        }
        8 => {
            what = "odd time";
            times[0] = time(*rng.pick(&["260101000000+0100", "2601010000Z", "261301000000Z", ""]));
        }
        9 => {
            what = "outer algorithm another";
            outer = key.algorithm(*rng.pick(&Hash::ALL));
        }
        10 => {
            what = "unused bits";
            unused = 3;
        }
        11 => {
            what = "octets behind";
            trailer = vec![0, 0];
        }
        12 => {
            what = "high S";
            form = Form::HighS;
        }
        13 => {
            what = "critical extension";
            extensions.push(Extension::new(&id_ce(28), true, sequence(&[boolean(true)])));
        }
        14 => {
            what = "AKI twice";
            let again = extensions[0].clone();
            extensions.push(again);
        }
        15 => {
            what = "entry with extensions";
            let reason = Extension::new(&id_ce(21), rng.percent(50), tlv(tag::ENUMERATED, &[8]));
            let reason = sequence(&[sequence(&[reason.oid, reason.critical, octets(&reason.body)])]);
            entries = serials.iter().map(|s| sequence(&[s.clone(), time("260101000000Z"), reason.clone()])).collect();
        }
        16 => {
            what = "entry twice, with an odd serial";
            entries.push(sequence(&[tlv(tag::INTEGER, &[0xff, 1]), time("260101000000Z")]));
        }
        17 => {
            what = "AKI critical";
            extensions[0].critical = boolean(true);
        }
        _ => {}
    }
    let list = if entries.is_empty() { Vec::new() } else { sequence(&entries) };
    let extensions: Vec<Vec<u8>> =
        extensions.iter().map(|e| sequence(&[e.oid.clone(), e.critical.clone(), octets(&e.body)])).collect();
    let extensions = if extensions.is_empty() { Vec::new() } else { explicit(0, &sequence(&extensions)) };
    let mut tbs = sequence(&[version, algorithm, issuer.to_vec(), times.concat(), list, extensions]);
    let mut text = what.to_owned();
    if rng.percent(15)
        && let Some(mut nodes) = Node::parse_all(&tbs)
    {
        text = format!("{text}, {}", mutate(rng, &mut nodes, None));
        tbs = nodes.iter().flat_map(Node::write).collect();
    }
    let mut signature = key.sign(hash, &tbs, form);
    if rng.percent(10)
        && let Some(last) = signature.last_mut()
    {
        text += ", badly signed";
        *last ^= 1;
    }
    let mut der = sequence(&[tbs, outer, bits(unused, &signature)]);
    der.extend(trailer);
    (der, format!("revocation list: {text}"))
}
