//! Index of the certificates that an MSP's revocation lists revoke, by authority and serial number, because there may be very
//! many lists and entries beside very many certificates.

use std::collections::HashMap;

use bytes::Bytes;
use orderer_x509::{self as x509, Certificate, Memo, RevocationList, SignatureError};

use super::trust_store::CertificateChainError;

/// Entries of an MSP's revocation lists, indexed by authority and serial number.
#[derive(Debug, Default)]
pub(super) struct RevocationIndex {
    /// The lists in their order, up to the first without a readable authority key identifier.
    lists: Vec<RevocationList>,
    /// Number of each authority key identifier on the lists.
    issuers: HashMap<Bytes, usize>,
    /// Entries, sorted by issuer, serial number and list.
    entries: Vec<Entry>,
    /// Position of the first list without a readable authority key identifier. Fabric rejects every certificate whose check
    /// reaches that list.
    nameless: Option<usize>,
}

/// A serial number on a list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    issuer: usize,
    serial: Bytes,
    list: usize,
}

impl RevocationIndex {
    /// Builds the index of these lists, in the order in which the MSP lists them.
    pub(super) fn new(lists: Vec<RevocationList>) -> Self {
        let mut revocations = Self::default();
        for (position, list) in lists.into_iter().enumerate() {
            let named = list.authority_key_id_extension().and_then(|body| x509::authority_key_id(body).ok());
            let Some(named) = named else {
                revocations.nameless = Some(position);
                break;
            };
            let next = revocations.issuers.len();
            let issuer = *revocations.issuers.entry(named).or_insert(next);
            let entry = |serial: &Bytes| Entry { issuer, serial: serial.clone(), list: position };
            revocations.entries.extend(list.revoked().iter().map(|revoked| entry(&revoked.serial)));
            revocations.lists.push(list);
        }
        revocations.entries.sort_unstable();
        revocations
    }

    /// Checks that no list revokes the certificate with this serial number, whose issuer has this key identifier. A list that is
    /// not signed by that issuer revokes nothing.
    pub(super) fn check(
        &self,
        serial: &Bytes,
        issuer: &Certificate,
        issuer_id: &Bytes,
        memo: &mut Memo,
    ) -> Result<(), CertificateChainError> {
        if let Some(&number) = self.issuers.get(issuer_id) {
            let first = self.entries.partition_point(|entry| (entry.issuer, &entry.serial) < (number, serial));
            let of_it = |entry: &&Entry| entry.issuer == number && entry.serial == *serial;
            for entry in self.entries[first..].iter().take_while(of_it) {
                match memo.check_list(&self.lists[entry.list], issuer) {
                    Ok(()) => return Err(CertificateChainError::Revoked),
                    Err(SignatureError::WorkLimit) => return Err(CertificateChainError::WorkLimit),
                    Err(_) => {}
                }
            }
        }
        self.nameless.map_or(Ok(()), |position| Err(CertificateChainError::NoAuthorityKeyId(position)))
    }
}
