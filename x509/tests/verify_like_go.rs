//! Tests that the library finds the certificate chains that Go finds, and gives the same reasons if there are none. The
//! cases are from a generator of CAs (renewed keys, cross-signed, in rings, of one name, with constraints of all
//! kinds), and the verdicts from Go 1.26.8's `crypto/x509`.
//!
//! Each case has two lines: certificates with their roles, and the verdict. `X509_VERIFY_CASES` names another file of
//! cases.

#![expect(clippy::unwrap_used, reason = "a broken fixture is a failed test")]

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use orderer_x509::{Certificate, Memo, Options, Pool, Purpose, VerifyError, verify_with};

struct Case {
    options: Options,
    roots: Vec<usize>,
    intermediates: Vec<usize>,
    /// Certificates. The leaf is the first.
    certificates: Vec<Arc<Certificate>>,
}

fn read(line: &str) -> Case {
    let mut words = line.split(' ').peekable();
    assert_eq!(words.next(), Some("case"));
    let at = words.next().unwrap().parse().unwrap();
    let purpose = match words.next().unwrap() {
        "server" => Purpose::ServerAuth,
        "client" => Purpose::ClientAuth,
        "any" => Purpose::Any,
        other => panic!("{other}"),
    };
    let mut list = |name: &str, end: &str| {
        assert_eq!(words.next(), Some(name));
        let mut list = Vec::new();
        while let Some(word) = words.next_if(|word| *word != end) {
            list.push(word);
        }
        list
    };
    let numbers = |list: Vec<&str>| list.into_iter().map(|word| word.parse().unwrap()).collect();
    let roots = numbers(list("roots", "intermediates"));
    let intermediates = numbers(list("intermediates", "certificates"));
    let certificates = list("certificates", "")
        .into_iter()
        .map(|word| Arc::new(Certificate::parse(&Bytes::from(STANDARD.decode(word).unwrap())).unwrap()))
        .collect();
    Case { options: Options { at, purpose }, roots, intermediates, certificates }
}

fn judge(case: &Case) -> String {
    let pool = |list: &[usize]| Pool::new(list.iter().map(|index| case.certificates[*index].clone()));
    // the first of equal certificates
    let mut places = HashMap::new();
    let mut serials = HashMap::new();
    for (index, certificate) in case.certificates.iter().enumerate().rev() {
        places.insert(certificate.raw().clone(), index);
        serials.insert(certificate.serial().clone(), index);
    }
    match verify_with(
        &case.certificates[0],
        &pool(&case.roots),
        &pool(&case.intermediates),
        &case.options,
        &mut Memo::new(),
    ) {
        Ok(chains) => {
            let chain = |chain: &Vec<Arc<Certificate>>| {
                chain.iter().map(|certificate| places[certificate.raw()].to_string()).collect::<Vec<_>>().join("-")
            };
            format!("chains {}", chains.iter().map(chain).collect::<Vec<_>>().join(" "))
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let (class, certificate) = match &error {
                VerifyError::UnknownAuthority { certificate, hint: None } => ("unknown-plain", certificate),
                VerifyError::UnknownAuthority { certificate, hint: Some(_) } => ("unknown-hint", certificate),
                VerifyError::NotYetValid { certificate, .. } | VerifyError::Expired { certificate, .. } => {
                    ("expired", certificate)
                }
                VerifyError::NotAuthorizedToSign { certificate } => ("not-ca", certificate),
                VerifyError::TooManyIntermediates { certificate } => ("path-length", certificate),
                VerifyError::NotAuthorizedForThisName { certificate, .. } => ("name", certificate),
                VerifyError::IncompatibleUsage { certificate } => ("usage", certificate),
                VerifyError::NoValidChains { certificate, .. } => ("policies", certificate),
                VerifyError::UnhandledCriticalExtension { .. } => return "error critical".into(),
                VerifyError::SignatureLimit { .. } => return "error limit".into(),
                other => panic!("{other}"),
            };
            format!("error {class} {}", serials[certificate.serial()])
        }
    }
}

#[test]
fn chains_and_errors_are_those_of_go() {
    let text = match std::env::var("X509_VERIFY_CASES") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("verify_like_go.txt").to_owned(),
    };
    let mut lines = text.lines();
    let (mut cases, mut longest) = (0, std::time::Duration::ZERO);
    let mut differences = Vec::new();
    while let (Some(case), Some(verdict)) = (lines.next(), lines.next()) {
        let case = read(case);
        let begun = std::time::Instant::now();
        let ours = judge(&case);
        longest = longest.max(begun.elapsed());
        if ours != verdict {
            differences.push(format!("case {cases}: Go says {verdict:?}, we say {ours:?}"));
        }
        cases += 1;
    }
    println!("{cases} cases, the longest took {longest:?}");
    assert!(cases >= 100);
    assert!(differences.is_empty(), "{} of {cases}\n{}", differences.len(), differences.join("\n"));
}
