//! Cache of whole configurations and of MSP definitions, which the channels of one network share.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fabric_proto::msp::MspConfig;

use super::bundle::Bundle;
use super::snapshot::ConfigError;
use super::tree::Tree;
use crate::crypto::sha256;
use crate::identity::{Msp, MspError, MspVersion, WorkLimit};

type ConfigHash = [u8; 32];

/// Cache of configurations and MSPs that channels share. A node has one; an entry lives as long as it is used elsewhere. Its
/// locks are held only to look up and to insert, never while an entry is built.
#[derive(Default)]
pub struct ConfigCache {
    bundles: WeakCache<ConfigHash, Bundle>,
    msps: WeakCache<(ConfigHash, MspVersion), Msp>,
    recent: Mutex<Recent>,
    any_shape: bool,
}

/// Maximum total size in bytes, in serialized form, of recent configurations that are kept even if they are not in use (yet).
const MAX_RECENT_BYTES: usize = 4 << 20;

/// The most recently built configurations. A configuration that was validated when its update was proposed is not validated
/// again when the update has been ordered.
#[derive(Default)]
struct Recent {
    bundles: VecDeque<(usize, Arc<Bundle>)>,
    bytes: usize,
}

impl Recent {
    fn keep(&mut self, bytes: usize, bundle: &Arc<Bundle>) {
        self.bundles.push_back((bytes, Arc::clone(bundle)));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > MAX_RECENT_BYTES {
            let Some((bytes, _)) = self.bundles.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// Weak references to values that are equal when their keys are.
struct WeakCache<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for WeakCache<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> WeakCache<K, T> {
    fn find(&self, key: &K) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key)?.upgrade()
    }

    /// Inserts a value and returns it; if another thread inserted an equal one first, returns that one.
    fn enter(&self, key: K, built: T) -> Arc<T> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = shelf.get(&key).and_then(Weak::upgrade) {
            return other;
        }
        // before the table has to grow, removes the entries that are not in use any more
        if shelf.len() == shelf.capacity() {
            shelf.retain(|_, entry| entry.strong_count() > 0);
        }
        let built = Arc::new(built);
        shelf.insert(key, Arc::downgrade(&built));
        built
    }
}

impl ConfigCache {
    /// Creates a catalog that accepts trees with groups and values where no configuration has them, to test the rules of updates
    /// with random trees.
    #[must_use]
    pub fn without_schema_check() -> Self {
        Self { any_shape: true, ..Self::default() }
    }

    pub(super) fn checks_schema(&self) -> bool {
        !self.any_shape
    }

    /// Returns the configuration with this tree; parses and validates it unless it is cached.
    pub(super) fn bundle(&self, tree: Tree, effort: WorkLimit) -> Result<Arc<Bundle>, ConfigError> {
        let bytes = tree.to_bytes();
        let key = sha256(&[&bytes]);
        if let Some(known) = self.bundles.find(&key) {
            return Ok(known);
        }
        let bundle = self.bundles.enter(key, Bundle::read(tree, self, effort)?);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).keep(bytes.len(), &bundle);
        Ok(bundle)
    }

    /// Returns the MSP of this definition by the rules of `version`; builds it unless it is cached.
    pub(super) fn msp(
        &self,
        definition: &MspConfig,
        version: MspVersion,
        effort: WorkLimit,
    ) -> Result<Arc<Msp>, MspError> {
        let key = (sha256(&[&definition.r#type.to_be_bytes(), &definition.config]), version);
        match self.msps.find(&key) {
            Some(known) => Ok(known),
            None => Ok(self.msps.enter(key, Msp::from_config_within(definition, version, effort)?)),
        }
    }
}

impl std::fmt::Debug for ConfigCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Catalog")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_not_kept() {
        let shelf = WeakCache::<u32, String>::default();
        let kept = shelf.enter(0, "kept".to_owned());
        for key in 1..10_000 {
            drop(shelf.enter(key, "dropped".to_owned()));
        }
        assert!(Arc::ptr_eq(&shelf.find(&0).unwrap(), &kept));
        assert!(Arc::ptr_eq(&shelf.enter(0, "again".to_owned()), &kept), "the first stays");
        assert!(shelf.find(&9_999).is_none());
        assert!(shelf.0.lock().unwrap().len() < 100);
    }
}
