//! Tests inputs that Go 1.26 accepts and rejects, case by case.
//!
//! Each line of `fixtures/reading.tsv` is a kind of input (`c` certificate, `r` revocation list, `p` PEM), the input in
//! base64, and Go's verdict: `refused`, or the beginning of a SHA-256 over everything that Go parsed from it, formatted
//! as [`certificate`], [`list`] and [`block`] do. The inputs are selected by Go's verdicts from several hundred
//! thousand mutated and random ones.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use orderer_x509::{
    Certificate, ExtendedKeyUsage, Hash, Name, NameConstraints, PublicKey, RevocationList, SignatureAlgorithm,
    Subtrees, authority_key_id, pem, subject_key_id,
};
use proptest::prelude::*;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, octet| {
        // writing to a string does not fail
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn joined<T>(items: impl IntoIterator<Item = T>, write: impl Fn(T) -> String) -> String {
    items.into_iter().map(write).collect::<Vec<_>>().join(",")
}

fn address(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => hex(address.octets()),
        IpAddr::V6(address) => hex(address.octets()),
    }
}

fn name(name: &Name) -> String {
    format!(
        "{}/{}/{}",
        joined(name.attributes(), |(oid, value)| format!("{oid}={}", hex(value))),
        joined(name.organizational_units(), hex),
        hex(name.common_name().unwrap_or_default()),
    )
}

fn algorithm(algorithm: SignatureAlgorithm) -> String {
    let hash = |hash| match hash {
        Hash::Sha1 => "1",
        Hash::Sha256 => "256",
        Hash::Sha384 => "384",
        Hash::Sha512 => "512",
    };
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(with) => format!("rsa{}", hash(with)),
        SignatureAlgorithm::RsaPss(with) => format!("pss{}", hash(with)),
        SignatureAlgorithm::Ecdsa(with) => format!("ec{}", hash(with)),
        SignatureAlgorithm::Ed25519 => "ed".to_owned(),
        SignatureAlgorithm::Insecure => "insecure".to_owned(),
        SignatureAlgorithm::Unknown => "unknown".to_owned(),
    }
}

fn key(key: Option<&PublicKey>) -> String {
    match key {
        None => "-".to_owned(),
        Some(PublicKey::Rsa { modulus, exponent }) => format!("rsa,{},{exponent}", hex(modulus)),
        Some(PublicKey::Ec { curve, point }) => {
            format!("ec,{},{}", format!("{curve:?}").replace('P', "P-"), hex(point))
        }
        Some(PublicKey::Ed25519(key)) => format!("ed,{}", hex(key)),
        Some(PublicKey::Dsa) => "dsa".to_owned(),
    }
}

fn subtrees(subtrees: &Subtrees) -> String {
    let ips = joined(&subtrees.ips, |(ip, length)| format!("{}/{length}", address(ip)));
    format!("{}/{}/{}/{ips}", joined(&subtrees.dns, hex), joined(&subtrees.emails, hex), joined(&subtrees.uris, hex))
}

fn usages(usages: &[ExtendedKeyUsage]) -> String {
    let known: String = usages
        .iter()
        .filter_map(|usage| match usage {
            ExtendedKeyUsage::Any => Some('A'),
            ExtendedKeyUsage::ServerAuth => Some('S'),
            ExtendedKeyUsage::ClientAuth => Some('C'),
            ExtendedKeyUsage::Other => None,
        })
        .collect();
    format!("{known}{}", usages.len() - known.len())
}

fn line(fields: &[(&str, String)]) -> String {
    fields.iter().fold(String::new(), |mut text, (field, value)| {
        let _ = write!(text, "{field}:{value} ");
        text
    })
}

fn certificate(der: &Bytes) -> Option<String> {
    let certificate = Certificate::parse(der).ok()?;
    let extensions = certificate.extensions();
    let serial = certificate.serial();
    let mut fields = vec![
        ("len", certificate.raw().len().to_string()),
        ("tbs", hex(certificate.raw_tbs())),
        ("ri", hex(certificate.raw_issuer())),
        ("rs", hex(certificate.raw_subject())),
        ("rk", hex(certificate.raw_spki())),
        ("v", certificate.version().to_string()),
        ("sn", hex(serial.strip_prefix(&[0]).unwrap_or(serial))),
        ("is", name(certificate.issuer())),
        ("su", name(certificate.subject())),
        ("nb", certificate.not_before().to_string()),
        ("na", certificate.not_after().to_string()),
        ("key", key(certificate.public_key())),
        ("alg", algorithm(certificate.algorithm())),
        ("sig", hex(certificate.signature())),
    ];
    for extension in &extensions.all {
        fields.push(("x", format!("{},{},{}", hex(&extension.oid), extension.critical, hex(&extension.value))));
    }
    let names = extensions.subject_alt_name.clone().unwrap_or_default();
    let NameConstraints { permitted, excluded } = extensions.name_constraints.clone().unwrap_or_default();
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let reread = extensions.all.iter().find(|extension| extension.oid[..] == [0x55, 0x1d, 14]);
    let constraints = extensions.basic_constraints.map_or("-".to_owned(), |constraints| {
        let length = constraints.max_path_len.map_or("-1".to_owned(), |length| length.to_string());
        format!("{},{length}", constraints.is_ca)
    });
    fields.extend([
        ("unh", extensions.unhandled_critical.join(",")),
        ("ku", extensions.key_usage.to_string()),
        ("bc", constraints),
        (
            "san",
            format!(
                "{}/{}/{}/{}",
                joined(&names.dns, hex),
                joined(&names.emails, hex),
                joined(&names.uris, |_| "uri".to_owned()),
                joined(&names.ips, address)
            ),
        ),
        ("ncp", subtrees(&permitted)),
        ("nce", subtrees(&excluded)),
        ("eku", usages(&extensions.extended_key_usage)),
        ("ski", hex(extensions.subject_key_id.as_deref().unwrap_or_default())),
        ("aki", hex(extensions.authority_key_id.as_deref().unwrap_or_default())),
        ("pol", joined(extensions.policies.iter().flatten(), hex)),
        (
            "map",
            joined(&extensions.policy_mappings, |(issuers, subjects)| format!("{}>{}", hex(issuers), hex(subjects))),
        ),
        ("rep", number(extensions.require_explicit_policy)),
        ("ipm", number(extensions.inhibit_policy_mapping)),
        ("iap", number(extensions.inhibit_any_policy)),
        (
            "lski",
            reread
                .map_or("none".to_owned(), |extension| subject_key_id(&extension.value).map_or("ERR".to_owned(), hex)),
        ),
    ]);
    Some(line(&fields))
}

fn list(bytes: &Bytes) -> Option<String> {
    let list = RevocationList::parse(bytes).ok()?;
    let mut fields =
        vec![("tbs", hex(list.raw_tbs())), ("alg", algorithm(list.algorithm())), ("sig", hex(list.signature()))];
    fields.extend(list.revoked().iter().map(|revoked| ("r", hex(&revoked.serial))));
    let authority = list.authority_key_id_extension().map_or("none".to_owned(), |body| {
        format!("{}={}", hex(body), authority_key_id(body).map_or("ERR".to_owned(), hex))
    });
    fields.push(("aki", authority));
    Some(line(&fields))
}

fn block(text: &Bytes) -> Option<String> {
    let (block, rest) = pem::decode(text)?;
    Some(format!("{} {} {}", hex(block.label), hex(block.contents), rest.len()))
}

#[test]
fn what_go_takes_and_refuses() {
    let (mut cases, mut refused) = (0, 0);
    for case in include_str!("fixtures/reading.tsv").lines() {
        let [kind, input, verdict] = case.split('\t').collect::<Vec<_>>()[..] else { panic!("{case}") };
        let bytes = Bytes::from(BASE64_STANDARD.decode(input).unwrap());
        let read = match kind {
            "c" => certificate(&bytes),
            "r" => list(&bytes),
            "p" => block(&bytes),
            _ => panic!("{kind}"),
        };
        let ours = read.as_ref().map_or("refused".to_owned(), |text| {
            hex(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref()[..8])
        });
        assert_eq!(ours, verdict, "{case}\n{read:?}");
        cases += 1;
        refused += usize::from(verdict == "refused");
    }
    assert!(refused > 100 && cases - refused > 100, "{refused} of {cases} refused");
}

/// Generates one of the inputs with a few octets changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let inputs: Vec<Vec<u8>> = include_str!("fixtures/reading.tsv")
        .lines()
        .filter_map(|case| BASE64_STANDARD.decode(case.split('\t').nth(1)?).ok())
        .collect();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (prop::sample::select(inputs), prop::collection::vec(change, 0..4)).prop_map(|(mut input, changes)| {
        for (place, octet) in changes.into_iter().filter(|_| !input.is_empty()).collect::<Vec<_>>() {
            let place = place.index(input.len());
            input[place] = octet;
        }
        input
    })
}

proptest! {
    #[test]
    fn nothing_makes_a_reader_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mutated()]) {
        let bytes = Bytes::from(bytes);
        if let Ok(certificate) = Certificate::parse(&bytes) {
            let _ = (certificate.issuer().to_string(), certificate.subject().to_string());
        }
        let _ = RevocationList::parse(&bytes);
        let _ = PublicKey::from_spki(&bytes);
        let _ = pem::decode(&bytes);
        let _ = (subject_key_id(&bytes), authority_key_id(&bytes));
    }
}
