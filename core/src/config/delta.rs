//! Computes the changes of an update by walking three trees side by side: the current configuration, the read set and the
//! write set. Nothing here recurses, so the depth of a tree does not matter.

use super::key;
use super::tree::{Group, GroupId, GroupRef, Tree, group_name, policy_name, value_name};
use super::update::{UpdateError, check_mod_policy};

/// Current configuration, read set and write set of an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub(super) current: &'a Tree,
    pub(super) read: Option<&'a Tree>,
    pub(super) write: Option<&'a Tree>,
}

/// An existing element that the update changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed<'a> {
    /// Group in which the element's mod policy is looked up: for a group, the group itself.
    pub(super) policy_group: GroupRef<'a>,
    /// Mod policy in force.
    pub(super) mod_policy: &'a str,
    kind: ElementKind<'a>,
}

#[derive(Clone, Copy, Debug)]
enum ElementKind<'a> {
    Group,
    Value(&'a str),
    Policy(&'a str),
}

impl ElementKind<'_> {
    fn name(self, group: GroupRef<'_>) -> String {
        match self {
            Self::Group => group_name(&group.path()),
            Self::Value(key) => value_name(&group.path(), key),
            Self::Policy(key) => policy_name(&group.path(), key),
        }
    }
}

impl Changed<'_> {
    /// Returns the full name, such as `[Value]  /Channel/Orderer/BatchSize`.
    pub(super) fn name(&self) -> String {
        self.kind.name(self.policy_group)
    }
}

/// Groups at one path in the three trees.
#[derive(Clone, Copy)]
struct GroupVersions<'a> {
    current: Option<GroupRef<'a>>,
    read: Option<GroupRef<'a>>,
    write: Option<GroupRef<'a>>,
}

impl<'a> GroupVersions<'a> {
    fn below(self, name: &str) -> Self {
        let below = |group: Option<GroupRef<'a>>| group.and_then(|group| group.below(name));
        Self { current: below(self.current), read: below(self.read), write: below(self.write) }
    }

    /// Returns the written group if it is new, or written at another version than it was read at.
    fn changed_group(self) -> Option<GroupRef<'a>> {
        self.write.filter(|write| self.read.is_none_or(|read| read.version != write.version))
    }
}

/// Whether an element written at this version differs from the one that was read.
fn is_changed(written: u64, read: Option<u64>) -> bool {
    read != Some(written)
}

impl<'a> Delta<'a> {
    fn root(&self) -> GroupVersions<'a> {
        let root = |tree: Option<&'a Tree>| tree.map(Tree::root);
        GroupVersions { current: Some(self.current.root()), read: root(self.read), write: root(self.write) }
    }

    /// Checks that each element of the read set exists, at the version that was read.
    pub(super) fn check_read_set(&self) -> Result<(), UpdateError> {
        let mut places = vec![self.root()];
        while let Some(place) = places.pop() {
            let Some(read) = place.read else { continue };
            let check = |kind: ElementKind<'_>, version: u64, current: Option<u64>| match current {
                None => Err(UpdateError::ReadMissing(kind.name(read))),
                Some(current) if current != version => {
                    Err(UpdateError::ReadStale { name: kind.name(read), read: version, current })
                }
                Some(_) => Ok(()),
            };
            let current = place.current;
            check(ElementKind::Group, read.version, current.map(|group| group.version))?;
            for (key, value) in read.values() {
                let current = current.and_then(|group| group.values().get(key)).map(|value| value.version);
                check(ElementKind::Value(key), value.version, current)?;
            }
            for (key, policy) in read.policies() {
                let current = current.and_then(|group| group.policies().get(key)).map(|policy| policy.version);
                check(ElementKind::Policy(key), policy.version, current)?;
            }
            places.extend(read.groups().rev().map(|(name, _)| place.below(name)));
        }
        Ok(())
    }

    /// Returns the existing elements that are changed. Rejects versions and mod policies that no element may be changed to.
    pub(super) fn changed(&self) -> Result<Vec<Changed<'a>>, UpdateError> {
        let (mut changed, mut any) = (Vec::new(), false);
        let mut places = vec![self.root()];
        while let Some(place) = places.pop() {
            let Some(write) = place.write else { continue };
            let mut check = |kind: ElementKind<'a>, written: (u64, &str), current: Option<(u64, &'a str)>| {
                any = true;
                let (wanted, mod_policy) = written;
                let name = || kind.name(write);
                check_mod_policy(name, mod_policy)?;
                match (current, place.current) {
                    (Some((version, _)), _) if version.wrapping_add(1) != wanted => {
                        Err(UpdateError::Version { name: name(), wanted, current: version })
                    }
                    (Some((_, mod_policy)), Some(policy_group)) => {
                        changed.push(Changed { policy_group, mod_policy, kind });
                        Ok(())
                    }
                    _ if wanted != 0 => Err(UpdateError::NewVersion { name: name(), wanted }),
                    _ => Ok(()),
                }
            };
            if place.changed_group().is_some() {
                let current = place.current.map(|group| (group.version, group.group().mod_policy.as_str()));
                check(ElementKind::Group, (write.version, &write.mod_policy), current)?;
            }
            for (key, value) in write.values() {
                let read = place.read.and_then(|group| group.values().get(key)).map(|value| value.version);
                if is_changed(value.version, read) {
                    let current = place.current.and_then(|group| group.values().get(key));
                    let current = current.map(|value| (value.version, value.mod_policy.as_str()));
                    check(ElementKind::Value(key), (value.version, &value.mod_policy), current)?;
                }
            }
            for (key, policy) in write.policies() {
                let read = place.read.and_then(|group| group.policies().get(key)).map(|policy| policy.version);
                if is_changed(policy.version, read) {
                    let current = place.current.and_then(|group| group.policies().get(key));
                    let current = current.map(|policy| (policy.version, policy.mod_policy.as_str()));
                    check(ElementKind::Policy(key), (policy.version, &policy.mod_policy), current)?;
                }
            }
            places.extend(write.groups().rev().map(|(name, _)| place.below(name)));
        }
        if any { Ok(changed) } else { Err(UpdateError::NoEffect) }
    }

    /// Returns the tree that results from the update. A group has the members that it lists itself: a changed group drops
    /// those that its write set leaves out, and an unchanged group keeps its members.
    pub(super) fn result(&self) -> Result<Tree, UpdateError> {
        let mends_mod_policies = self.mends_mod_policies();
        let mut tree = Tree::new(Group::default());
        let mut work = vec![(GroupId::ROOT, self.root())];
        while let Some((id, place)) = work.pop() {
            let Some(chosen) = place.changed_group().or(place.current) else {
                let name = place.write.map_or_else(String::new, |group| group_name(&group.path()));
                return Err(UpdateError::ResultMissing(name));
            };
            let mut group =
                Group { version: chosen.version, mod_policy: chosen.mod_policy.clone(), ..Group::default() };
            group.unknown = chosen.unknown.clone();
            for key in chosen.values().keys() {
                let of = |group: Option<GroupRef<'a>>| group.and_then(|group| group.values().get(key));
                let read = of(place.read).map(|value| value.version);
                let written = of(place.write).filter(|value| is_changed(value.version, read));
                let value = written.or_else(|| of(place.current));
                let missing = || UpdateError::ResultMissing(value_name(&chosen.path(), key));
                group.values.insert(key.clone(), value.ok_or_else(missing)?.clone());
            }
            for key in chosen.policies().keys() {
                let of = |group: Option<GroupRef<'a>>| group.and_then(|group| group.policies().get(key));
                let read = of(place.read).map(|policy| policy.version);
                let written = of(place.write).filter(|policy| is_changed(policy.version, read));
                let policy = written.or_else(|| of(place.current));
                let missing = || UpdateError::ResultMissing(policy_name(&chosen.path(), key));
                group.policies.insert(key.clone(), policy.ok_or_else(missing)?.clone());
            }
            if mends_mod_policies {
                let of_values = group.values.values_mut().map(|value| &mut value.mod_policy);
                let of_policies = group.policies.values_mut().map(|policy| &mut policy.mod_policy);
                let all = of_values.chain(of_policies).chain(std::iter::once(&mut group.mod_policy));
                all.filter(|mod_policy| mod_policy.is_empty()).for_each(|empty| key::ADMINS.clone_into(empty));
            }
            tree.fill(id, group);
            for (name, _) in chosen.groups().rev() {
                let id = tree.insert(id, name.to_owned(), Group::default());
                work.push((id, place.below(name)));
            }
        }
        Ok(tree)
    }

    /// Whether empty mod policies become Admins. Channels of Fabric 1.0 have elements without a mod policy, which could
    /// never be changed. Once the Orderer group has capabilities, an update sets all of them to Admins.
    fn mends_mod_policies(&self) -> bool {
        let orderer = self.root().below(key::ORDERER);
        let of = |group: Option<GroupRef<'a>>| group.and_then(|group| group.values().get(key::CAPABILITIES));
        // a written and unchanged value was read, so it exists
        of(orderer.current).is_some() || of(orderer.write).is_some()
    }
}
