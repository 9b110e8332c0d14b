//! Equality of trees as in protobuf-go's `proto.Equal`: unknown fields count, but their order relative to fields of
//! other numbers does not.

use std::collections::{BTreeMap, btree_map};

use fabric_proto::lenient::Fields;

use super::{GroupRef, PolicyBody, PolicyElement, Tree, Value};

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl Eq for Tree {}

impl PartialEq for GroupRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = vec![(*self, *other)];
        while let Some((one, two)) = pairs.pop() {
            let own = one.version == two.version
                && one.mod_policy == two.mod_policy
                && one.values == two.values
                && one.policies == two.policies
                && same_unknown(&one.unknown, &two.unknown)
                && one.groups_len() == two.groups_len();
            if !own {
                return false;
            }
            for ((name, one), (other_name, two)) in one.groups().zip(two.groups()) {
                if name != other_name {
                    return false;
                }
                pairs.push((one, two));
            }
        }
        true
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.value == other.value
            && self.mod_policy == other.mod_policy
            && same_unknown(&self.unknown, &other.unknown)
    }
}

impl PartialEq for PolicyElement {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.policy == other.policy
            && self.mod_policy == other.mod_policy
            && same_unknown(&self.unknown, &other.unknown)
    }
}

impl PartialEq for PolicyBody {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.value == other.value && same_unknown(&self.unknown, &other.unknown)
    }
}

fn same_unknown(one: &[u8], two: &[u8]) -> bool {
    one == two || (one.len() == two.len() && by_number(one) == by_number(two))
}

fn by_number(unknown: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let mut all = BTreeMap::new();
    for field in Fields::new(unknown).flatten() {
        match all.entry(field.number) {
            btree_map::Entry::Vacant(entry) => field.append_to(entry.insert(Vec::new())),
            btree_map::Entry::Occupied(mut entry) => field.append_to(entry.get_mut()),
        }
    }
    all
}
