//! TLS towards brokers: PEM bytes become what rustls wants. The provider of cryptography is named, never guessed.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::{SettingsError, Tls};

const ROOTS: &str = "trusted kafka certificates";
const CHAIN: &str = "kafka client certificate";
const KEY: &str = "kafka client key";

pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, SettingsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(ROOTS, &tls.roots_pem)? {
        roots.add(root).map_err(|cause| SettingsError::BadCertificate { what: ROOTS, cause })?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| SettingsError::BadCertificate { what: "the provider of cryptography", cause })?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let key = PrivateKeyDer::from_pem_slice(&client.key_pem).map_err(|cause| bad_pem(KEY, cause))?;
            let chain = certificates(CHAIN, &client.chain_pem)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|cause| SettingsError::BadCertificate { what: CHAIN, cause })?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_pem(what, pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(cause) => Err(bad_pem(what, cause)),
    }
}

fn bad_pem(what: &'static str, cause: pem::Error) -> SettingsError {
    SettingsError::BadPem { what, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ClientCertificate;

    #[test]
    fn a_text_without_a_certificate_is_refused_by_name() {
        let tls = Tls { roots_pem: b"nothing here".to_vec(), client: None };
        let error = client_config(&tls).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("trusted kafka certificates: no readable PEM"));
    }

    #[test]
    fn a_key_that_does_not_fit_its_certificate_is_refused() {
        let ours = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap();
        let pem = ours.cert.pem().into_bytes();
        let client =
            ClientCertificate { chain_pem: pem.clone(), key_pem: other.signing_key.serialize_pem().into_bytes() };
        let error = client_config(&Tls { roots_pem: pem, client: Some(client) }).err();
        assert!(matches!(error, Some(SettingsError::BadCertificate { what: CHAIN, .. })), "{error:?}");
    }
}
