//! A token behind a PKCS#11 library, by the crate cryptoki.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use orderer_core::crypto::{hex, sha256};
use orderer_x509::Curve;

use crate::key::encode;
use crate::library::{TokenLibrary, TokenSession};
use crate::{TokenError, TokenKey, TokenSettings};

/// A library, with the slot of the one token that is used.
pub(crate) struct Pkcs11Library {
    settings: TokenSettings,
    connected: Mutex<Connected>,
}

/// The library is loaded once: some do not survive to be unloaded.
#[derive(Default)]
struct Connected {
    loaded: Option<Pkcs11>,
    slot: Option<Slot>,
}

impl Pkcs11Library {
    pub(crate) fn new(settings: TokenSettings) -> Self {
        Self { settings, connected: Mutex::default() }
    }

    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Result<Pkcs11, TokenError> {
        let mut connected = self.connected();
        if let Some(loaded) = &connected.loaded {
            return Ok(loaded.clone());
        }
        let loaded = Pkcs11::new(&self.settings.library).map_err(|error| self.library_error(&error))?;
        connected.loaded = Some(loaded.clone());
        Ok(loaded)
    }

    fn library_error(&self, error: &Error) -> TokenError {
        let path = self.settings.library.clone();
        match error {
            Error::LibraryLoading(cause) => TokenError::Library { path, cause: cause.to_string() },
            Error::Pkcs11(code, _) => TokenError::Initialize { path, cause: shown(*code) },
            other => TokenError::Library { path, cause: other.to_string() },
        }
    }

    /// Opens a session in which the token's user is logged in.
    fn log_in(&self) -> Result<Session, TokenError> {
        let (loaded, slot) = {
            let connected = self.connected();
            let both = connected.loaded.clone().zip(connected.slot);
            both.ok_or_else(|| TokenError::Call("the library is not initialized".to_owned()))?
        };
        let session = loaded.open_rw_session(slot).map_err(|error| call(&error))?;
        let pin = AuthPin::from(self.settings.pin.expose());
        match session.login(UserType::User, Some(&pin)) {
            // all sessions of the process share one login
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(code, _)) if is_about_pin(code) => {
                Err(TokenError::Pin { label: self.settings.label.clone(), cause: shown(code) })
            }
            Err(error) => Err(call(&error)),
        }
    }
}

impl TokenLibrary for Pkcs11Library {
    fn label(&self) -> &str {
        &self.settings.label
    }

    fn connect(&self) -> Result<(), TokenError> {
        let loaded = self.load()?;
        let is_again = self.connected().slot.take().is_some();
        if is_again {
            // it forgets what it knows of slots and tokens; if that fails, the initialization tells
            let _ = loaded.clone().finalize();
        }
        match loaded.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.library_error(&error)),
        }
        // from here on it has to be finalized before it is initialized again
        let mut found = Vec::new();
        let slots = loaded.get_slots_with_token().map_err(|error| call(&error));
        for slot in slots.inspect_err(|_| drop(loaded.clone().finalize()))? {
            // a slot that is being emptied is another one
            let Ok(info) = loaded.get_token_info(slot) else { continue };
            if info.label() == self.settings.label {
                self.connected().slot = Some(slot);
                return Ok(());
            }
            if info.token_initialized() {
                found.push(info.label().to_owned());
            }
        }
        let _ = loaded.finalize();
        Err(TokenError::NoToken { label: self.settings.label.clone(), found })
    }

    fn session(&self) -> Result<Box<dyn TokenSession>, TokenError> {
        let session = self.log_in()?;
        Ok(Box::new(LoggedIn { session, label: self.settings.label.clone(), key: None }))
    }
}

impl fmt::Debug for Pkcs11Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Library").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct LoggedIn {
    session: Session,
    label: String,
    /// The key that was used last, and its CKA_ID.
    key: Option<(Vec<u8>, ObjectHandle)>,
}

impl LoggedIn {
    fn find(&mut self, key: &TokenKey) -> Result<ObjectHandle, TokenError> {
        if let Some((_, handle)) = self.key.as_ref().filter(|(id, _)| id == key.id()) {
            return Ok(*handle);
        }
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(key.id().to_vec())];
        // as in Fabric, the first counts
        let found = self.session.find_objects(&wanted).map_err(|error| call(&error))?;
        let none = || TokenError::NoKey { label: self.label.clone(), id: key.shown_id() };
        let handle = found.first().copied().ok_or_else(none)?;
        self.key = Some((key.id().to_vec(), handle));
        Ok(handle)
    }
}

impl TokenSession for LoggedIn {
    fn sign(&mut self, key: &TokenKey, digest: &[u8; 32]) -> Result<Vec<u8>, TokenError> {
        let handle = self.find(key)?;
        self.session.sign(&Mechanism::Ecdsa, handle, digest).map_err(|error| call(&error))
    }
}

/// A key pair that was generated in a token, with the session that generated it.
#[derive(Debug)]
pub struct GeneratedKey {
    ski: [u8; 32],
    point: Vec<u8>,
    curve: Curve,
    session: Session,
    private: ObjectHandle,
}

impl GeneratedKey {
    /// Returns Fabric's identifier of the key, which is its CKA_ID.
    pub fn ski(&self) -> &[u8; 32] {
        &self.ski
    }

    /// Returns the public key: an uncompressed point.
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// Signs a message as certificates are signed: over SHA-256 on P-256, over SHA-384 on P-384. Low-S, DER.
    ///
    /// # Errors
    /// The token does not sign.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let algorithm = if self.curve == Curve::P384 { &SHA384 } else { &SHA256 };
        let digest = digest(algorithm, message);
        let raw = self.session.sign(&Mechanism::Ecdsa, self.private, digest.as_ref()).map_err(|error| call(&error))?;
        let wrong = || TokenError::Call(format!("the token returned {} bytes, which are no signature", raw.len()));
        encode(self.curve, &raw).map(|der| der.to_vec()).ok_or_else(wrong)
    }
}

/// Generates a key pair in the token, as Fabric does: it cannot be extracted, its CKA_ID is the SKI, its label the SKI in hex or
/// `label`. Performs blocking I/O.
///
/// # Errors
/// The token is not there, refuses the PIN, or does not generate keys on the curve.
pub fn generate_key(settings: &TokenSettings, curve: Curve, label: Option<&str>) -> Result<GeneratedKey, TokenError> {
    let oid: &[u8] = match curve {
        Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        Curve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        Curve::P224 | Curve::P521 => return Err(TokenError::Kind("on another curve")),
    };
    let library = Pkcs11Library::new(settings.clone());
    library.connect()?;
    let session = library.log_in()?;
    let failed = |error: Error| call(&error);
    // the CKA_ID depends on the public key; until it is known, both objects have a name that no other has
    let provisional = format!("new-{}", std::process::id()).into_bytes();
    let public = [
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Verify(true),
        Attribute::EcParams(oid.to_vec()),
        Attribute::Id(provisional.clone()),
        Attribute::Label(provisional.clone()),
    ];
    let private = [
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sign(true),
        Attribute::Extractable(false),
        Attribute::Sensitive(true),
        Attribute::Id(provisional.clone()),
        Attribute::Label(provisional),
    ];
    let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map_err(failed)?;
    match name_pair(&session, [public, private], curve, label, settings.immutable) {
        Ok(Named { ski, point, private }) => Ok(GeneratedKey { ski, point, curve, session, private }),
        Err(error) => {
            // a key without its identifier would never be found
            for object in [public, private] {
                let _ = session.destroy_object(object);
            }
            Err(error)
        }
    }
}

struct Named {
    ski: [u8; 32],
    point: Vec<u8>,
    private: ObjectHandle,
}

fn name_pair(
    session: &Session,
    pair: [ObjectHandle; 2],
    curve: Curve,
    label: Option<&str>,
    immutable: bool,
) -> Result<Named, TokenError> {
    let failed = |error: Error| call(&error);
    let attributes = session.get_attributes(pair[0], &[AttributeType::EcPoint]).map_err(failed)?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => uncompressed(&point, curve),
        _ => None,
    });
    let point =
        point.ok_or_else(|| TokenError::Call("the token shows no uncompressed point of the new key".to_owned()))?;
    let ski = sha256(&[&point]);
    let label = label.map_or_else(|| hex(&ski), str::to_owned).into_bytes();
    let names = [Attribute::Id(ski.to_vec()), Attribute::Label(label)];
    let mut private = pair[1];
    for object in pair {
        session.update_attributes(object, &names).map_err(failed)?;
        if immutable {
            // as in Fabric: only a copy can be made unmodifiable; the private key is the last
            private = session.copy_object(object, &[Attribute::Modifiable(false)]).map_err(failed)?;
            session.destroy_object(object).map_err(failed)?;
        }
    }
    Ok(Named { ski, point, private })
}

/// Returns the bare point of CKA_EC_POINT, which is an OCTET STRING in DER, or the point itself in older libraries.
fn uncompressed(attribute: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let length = if curve == Curve::P384 { 97 } else { 65 };
    let bare = match attribute {
        [0x04, declared, point @ ..] if usize::from(*declared) == point.len() && point.len() == length => point,
        point if point.len() == length => point,
        _ => return None,
    };
    (bare[0] == 0x04).then(|| bare.to_vec())
}

fn is_about_pin(code: RvError) -> bool {
    matches!(
        code,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}

fn call(error: &Error) -> TokenError {
    TokenError::Call(match error {
        Error::Pkcs11(code, function) => format!("{function:?}: {}", shown(*code)),
        other => other.to_string(),
    })
}

/// Describes a return value in few words.
fn shown(code: RvError) -> String {
    let words = match code {
        RvError::PinIncorrect => "the PIN is incorrect",
        RvError::PinInvalid | RvError::PinLenRange => {
            "the PIN has characters or a length that the token does not allow"
        }
        RvError::PinExpired => "the PIN has expired",
        RvError::PinLocked => "the token has locked the PIN after too many attempts",
        RvError::UserPinNotInitialized => "the token's user has no PIN yet",
        RvError::DeviceRemoved | RvError::TokenNotPresent => "the token was removed",
        RvError::SessionHandleInvalid | RvError::SessionClosed => "the session is no longer valid",
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => "the key is no longer there",
        RvError::UserNotLoggedIn => "the token has logged the user out",
        RvError::DeviceError => "the token reports an error of the device",
        RvError::SessionCount => "the token opens no more sessions",
        other => return format!("{other:?}"),
    };
    format!("{words} ({code:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_with_and_without_its_der() {
        let point = [&[0x04][..], &[7; 64]].concat();
        let wrapped = [&[0x04, 65][..], &point].concat();
        assert_eq!(uncompressed(&point, Curve::P256), Some(point.clone()));
        assert_eq!(uncompressed(&wrapped, Curve::P256), Some(point.clone()));
        assert_eq!(uncompressed(&wrapped, Curve::P384), None);
        assert_eq!(uncompressed(&[], Curve::P256), None);
    }
}
