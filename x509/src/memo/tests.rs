use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm as Algorithm};

use super::*;
use crate::{Options, Pool, VerifyError, verify_with};

const ALGORITHMS: [&Algorithm; 4] = [
    &rcgen::PKCS_ECDSA_P256_SHA256,
    &rcgen::PKCS_ECDSA_P384_SHA384,
    &rcgen::PKCS_ECDSA_P521_SHA512,
    &rcgen::PKCS_ED25519,
];

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn read(certificate: &rcgen::Certificate) -> Arc<Certificate> {
    Arc::new(Certificate::parse(&Bytes::copy_from_slice(certificate.der())).unwrap())
}

/// Returns authorities of one name, each with its own key, and a certificate that the last of them
/// signed.
fn namesakes(algorithm: &'static Algorithm, count: usize) -> (Vec<Arc<Certificate>>, Arc<Certificate>) {
    let key = || KeyPair::generate_for(algorithm).unwrap();
    let keys: Vec<KeyPair> = (0..count).map(|_| key()).collect();
    let authorities = keys.iter().map(|key| read(&params("authority").self_signed(key).unwrap())).collect();
    let issuer = Issuer::new(params("authority"), keys.into_iter().last().unwrap());
    let below = params("below").signed_by(&key(), &issuer).unwrap();
    (authorities, read(&below))
}

#[test]
fn the_outcome_is_that_of_a_check_whatever_is_known() {
    for algorithm in ALGORITHMS {
        let (authorities, below) = namesakes(algorithm, 20);
        let mut memo = Memo::new();
        // in either order, the authority that signed is checked after many that did not, and before
        // them
        for authority in authorities.iter().chain(authorities.iter().rev()) {
            assert_eq!(memo.check_certificate(&below, authority), below.check_signature_from(authority));
        }
        assert_eq!(memo.outcomes.len(), 20);
        let by_keys = memo.tried.values().filter(|tried| matches!(tried, Tried::From(_))).count();
        assert_eq!(by_keys, usize::from(*algorithm != rcgen::PKCS_ED25519), "{algorithm:?}");
    }
}

#[test]
fn who_may_not_sign_is_asked_of_each_certificate_and_not_of_its_key() {
    let key = KeyPair::generate().unwrap();
    let mut no_authority = params("authority");
    no_authority.is_ca = IsCa::ExplicitNoCa;
    let (may, may_not) =
        (read(&params("authority").self_signed(&key).unwrap()), read(&no_authority.self_signed(&key).unwrap()));
    let mut memo = Memo::new();
    assert_eq!(memo.check_certificate(&may, &may), Ok(()));
    assert_eq!(memo.check_certificate(&may, &may_not), Err(SignatureError::NotAnIssuer));
    assert_eq!(memo.check_certificate(&may, &may), Ok(()));
}

/// The limit of a hundred candidates applies even though no signature is verified again.
#[test]
fn what_is_known_counts_in_the_budget() {
    for (count, is_found) in [(100, true), (101, false)] {
        let (authorities, below) = namesakes(&rcgen::PKCS_ECDSA_P256_SHA256, count);
        // without key identifiers they are considered in their order
        let pool = Pool::new(authorities);
        let options = Options { at: below.not_before() + 1, ..Options::default() };
        let mut memo = Memo::new();
        for _ in 0..2 {
            let chains = verify_with(&below, &pool, &Pool::default(), &options, &mut memo);
            match chains {
                Ok(chains) => assert!(is_found && chains.len() == 1),
                Err(error) => assert!(!is_found && matches!(error, VerifyError::SignatureLimit { .. }), "{error}"),
            }
        }
    }
}

/// A skipped verification yields no result, neither valid nor invalid.
#[test]
fn a_used_up_budget_is_said() {
    let (authorities, below) = namesakes(&rcgen::PKCS_ED25519, 3);
    let pool = Pool::new(authorities.clone());
    let options = Options { at: below.not_before() + 1, ..Options::default() };
    let mut memo = Memo::bounded();
    assert!(verify_with(&below, &pool, &Pool::default(), &options, &mut memo).is_ok());
    memo.spend(cost::BUDGET);
    assert!(memo.is_exhausted());
    let outcome = verify_with(&below, &pool, &Pool::default(), &options, &mut memo);
    assert!(matches!(outcome, Err(VerifyError::WorkLimit { .. })), "also where all is known: {outcome:?}");
    assert_eq!(memo.check_certificate(&authorities[0], &below), Err(SignatureError::WorkLimit));
    // nor does the error say that the issuer is unknown
    let mut memo = Memo::bounded();
    memo.spend(cost::BUDGET);
    let outcome = verify_with(&below, &pool, &Pool::default(), &options, &mut memo);
    assert!(matches!(outcome, Err(VerifyError::WorkLimit { .. })), "{outcome:?}");
}
