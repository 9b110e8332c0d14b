//! Fabric's condition on a chain beyond Go's rules.

use std::sync::Arc;

use crate::certificate::Certificate;
use crate::verify::{NAME_CONSTRAINTS, SUBJECT_ALT_NAME};
use crate::verify_error::{CertificateId, VerifyError};

/// Checks a chain, from the leaf to the root, by the rule that Go had before it stopped reading host names from common names
/// (`verifyLegacyNameConstraints` of Fabric's MSP): no authority of a leaf without alternative names whose common name looks
/// like a host name may have name constraints.
///
/// # Errors
/// An authority of such a leaf has name constraints.
pub fn verify_legacy_name_constraints(chain: &[Arc<Certificate>]) -> Result<(), VerifyError> {
    let Some((leaf, authorities)) = chain.split_first() else { return Ok(()) };
    let constrained = !leaf.has_extension(SUBJECT_ALT_NAME)
        && leaf.subject.common_name().is_some_and(is_hostname)
        && authorities.iter().any(|authority| authority.has_extension(NAME_CONSTRAINTS));
    if constrained {
        return Err(VerifyError::NameConstraintsWithoutSans { certificate: CertificateId::of(leaf) });
    }
    Ok(())
}

/// Whether a common name looks like a host name (`validHostname` of Fabric's MSP).
fn is_hostname(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.is_empty()
        && name.split('.').enumerate().all(|(position, label)| {
            let wildcard = position == 0 && label == "*";
            wildcard
                || (!label.is_empty()
                    && !label.starts_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte)))
        })
}

#[cfg(test)]
mod tests {
    use super::is_hostname;

    #[test]
    fn host_names_are_those_of_fabric() {
        for host in ["a", "a.example.com", "a.example.com.", "*", "*.com", "a_b", "a:7050", "a-", "1.2.3.4"] {
            assert!(is_hostname(host), "{host}");
        }
        for other in ["", ".", "a..b", ".a", "a..", "-a", "a.-b", "a.*", "b*", "User1@org", "ä", "a b"] {
            assert!(!is_hostname(other), "{other}");
        }
    }
}
