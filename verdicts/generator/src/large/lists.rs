//! Configurations with many or large revocation lists.

use fabric_proto::common::ConfigGroup;
use fabric_proto::msp::FabricMspConfig;

use super::{msp_with, orderers, share, up_to_size, with};
use crate::certificate::{Certificate, authority_name};
use crate::crl;
use crate::der;
use crate::keys::{Kind, key, other};
use crate::network::{anybody, channel, organization};
use crate::organization::Authority;

/// The serial number of all certificates that the lists name.
const SERIAL: u64 = 77;

/// Revocation lists that all name one certificate and the key identifier of its issuer, which has signed none of them.
pub(super) fn of_one_issuer(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P384, 0);
    let mut inner = root.below("inner", Kind::P384, 1).certificate;
    inner.serial = der::integer(SERIAL);
    let mut config = msp_with(&root, &[inner.sign(root.key)]);
    let lists = (0..size / 220).map(|n| {
        let serials = [der::integer(SERIAL), der::integer(9000 + n as u64)];
        crl::plain(key(Kind::P384, 5), &authority_name("nobody"), &root.key.identifier(), &serials).into()
    });
    config.revocation_list = lists.collect();
    with(&config)
}

/// Revocation lists that no CA of the configuration has signed, and as many CAs with different keys, whose key
/// identifier is that of the lists. The lists name the serial number of all certificates below these CAs.
pub(super) fn of_many_issuers(kind: Kind, size: usize) -> ConfigGroup {
    let level = if kind == Kind::Ed25519 { "V3_0" } else { "V2_0" };
    channel(level, orderers(), organization(&definition(kind, size), anybody()))
}

/// Returns the organization of [`of_many_issuers`].
pub(super) fn definition(kind: Kind, size: usize) -> FabricMspConfig {
    const IDENTIFIER: [u8; 20] = [9; 20];
    let root = Authority::root("root", if kind == Kind::Ed25519 { kind } else { Kind::P256 }, 0);
    let mut intermediates = Vec::new();
    let mut taken = 0;
    let keys = (0..).map_while(|n| other(kind, n));
    for (n, issuer_key) in keys.enumerate() {
        if taken > size / 2 {
            break;
        }
        let name = authority_name(&format!("i{n}"));
        let below_key = key(if kind == Kind::Ed25519 { kind } else { Kind::P256 }, 1);
        let mut issuer =
            Certificate::authority(&issuer_key, root.key, name.clone(), root.certificate.subject.clone(), n as u64);
        issuer.extensions[2].body = der::octets(&IDENTIFIER);
        issuer.extensions.truncate(3);
        let mut below =
            Certificate::authority(below_key, &issuer_key, authority_name(&format!("b{n}")), name, n as u64);
        below.serial = der::integer(SERIAL);
        below.extensions.truncate(3);
        for der in [issuer.sign(root.key), below.sign(&issuer_key)] {
            taken += der.len() + der.len() / 3 + 80;
            intermediates.push(der);
        }
    }
    let mut config = msp_with(&root, &intermediates);
    let mut lists = 0;
    while lists < size / 2 {
        let serials = [der::integer(SERIAL), der::integer(9000 + config.revocation_list.len() as u64)];
        let list = crl::plain(key(kind, 5), &authority_name("nobody"), &IDENTIFIER, &serials);
        lists += list.len();
        config.revocation_list.push(list.into());
    }
    config
}

/// Many certificates, and a list with many entries.
pub(super) fn entries(size: usize) -> ConfigGroup {
    let root = Authority::root("root", Kind::P256, 0);
    let mut intermediates = up_to_size(size, |n| {
        let mut below = root.below("below", Kind::P256, 1);
        below.certificate.serial = der::integer(1_000_000 + n as u64);
        below.certificate.subject = authority_name(&format!("below {n}"));
        below.certificate.sign(root.key)
    });
    intermediates.truncate(intermediates.len() / 2);
    let serials: Vec<_> = (0..share(size, 20_000) as u64).map(der::integer).collect();
    let list = crl::plain(root.key, &root.certificate.subject, &root.key.identifier(), &serials);
    let mut config = msp_with(&root, &intermediates);
    config.revocation_list = vec![list.into()];
    with(&config)
}
