//! What an update changes: the current configuration, what was read of it and what is written, walked side by side. Nothing
//! here depends on how deep a tree is.

use super::key;
use super::tree::{Group, GroupId, GroupRef, Tree, group_name, policy_name, value_name};
use super::update::{UpdateError, check_mod_policy};

/// The three trees of an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub(super) current: &'a Tree,
    pub(super) read: Option<&'a Tree>,
    pub(super) write: Option<&'a Tree>,
}

/// An element that is there, and that the update changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed<'a> {
    /// The group whose policies its mod policy is looked up in: for a group, itself.
    pub(super) policy_group: GroupRef<'a>,
    /// The one in force.
    pub(super) mod_policy: &'a str,
    kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Kind<'a> {
    Group,
    Value(&'a str),
    Policy(&'a str),
}

impl Kind<'_> {
    fn name(self, group: GroupRef<'_>) -> String {
        match self {
            Self::Group => group_name(&group.path()),
            Self::Value(key) => value_name(&group.path(), key),
            Self::Policy(key) => policy_name(&group.path(), key),
        }
    }
}

impl Changed<'_> {
    /// Such as `[Value]  /Channel/Orderer/BatchSize`.
    pub(super) fn name(&self) -> String {
        self.kind.name(self.policy_group)
    }
}

/// One path in the three trees.
#[derive(Clone, Copy)]
struct Place<'a> {
    current: Option<GroupRef<'a>>,
    read: Option<GroupRef<'a>>,
    write: Option<GroupRef<'a>>,
}

impl<'a> Place<'a> {
    fn below(self, name: &str) -> Self {
        let below = |group: Option<GroupRef<'a>>| group.and_then(|group| group.below(name));
        Self { current: below(self.current), read: below(self.read), write: below(self.write) }
    }

    /// The group if it is written as something new or something else than was read.
    fn changed_group(self) -> Option<GroupRef<'a>> {
        self.write.filter(|write| self.read.is_none_or(|read| read.version != write.version))
    }
}

/// Whether what is written at this version is something else than what was read.
fn is_changed(written: u64, read: Option<u64>) -> bool {
    read != Some(written)
}

impl<'a> Delta<'a> {
    fn root(&self) -> Place<'a> {
        let root = |tree: Option<&'a Tree>| tree.map(Tree::root);
        Place { current: Some(self.current.root()), read: root(self.read), write: root(self.write) }
    }

    /// Everything that was read is there, at that version.
    pub(super) fn check_read_set(&self) -> Result<(), UpdateError> {
        let mut places = vec![self.root()];
        while let Some(place) = places.pop() {
            let Some(read) = place.read else { continue };
            let check = |kind: Kind<'_>, version: u64, current: Option<u64>| match current {
                None => Err(UpdateError::ReadMissing(kind.name(read))),
                Some(current) if current != version => {
                    Err(UpdateError::ReadStale { name: kind.name(read), read: version, current })
                }
                Some(_) => Ok(()),
            };
            let current = place.current;
            check(Kind::Group, read.version, current.map(|group| group.version))?;
            for (key, value) in read.values() {
                let current = current.and_then(|group| group.values().get(key)).map(|value| value.version);
                check(Kind::Value(key), value.version, current)?;
            }
            for (key, policy) in read.policies() {
                let current = current.and_then(|group| group.policies().get(key)).map(|policy| policy.version);
                check(Kind::Policy(key), policy.version, current)?;
            }
            places.extend(read.groups().rev().map(|(name, _)| place.below(name)));
        }
        Ok(())
    }

    /// What is there and is changed. Refuses versions and mod policies that nothing may be changed to.
    pub(super) fn changed(&self) -> Result<Vec<Changed<'a>>, UpdateError> {
        let (mut changed, mut any) = (Vec::new(), false);
        let mut places = vec![self.root()];
        while let Some(place) = places.pop() {
            let Some(write) = place.write else { continue };
            let mut check = |kind: Kind<'a>, written: (u64, &str), current: Option<(u64, &'a str)>| {
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
                check(Kind::Group, (write.version, &write.mod_policy), current)?;
            }
            for (key, value) in write.values() {
                let read = place.read.and_then(|group| group.values().get(key)).map(|value| value.version);
                if is_changed(value.version, read) {
                    let current = place.current.and_then(|group| group.values().get(key));
                    let current = current.map(|value| (value.version, value.mod_policy.as_str()));
                    check(Kind::Value(key), (value.version, &value.mod_policy), current)?;
                }
            }
            for (key, policy) in write.policies() {
                let read = place.read.and_then(|group| group.policies().get(key)).map(|policy| policy.version);
                if is_changed(policy.version, read) {
                    let current = place.current.and_then(|group| group.policies().get(key));
                    let current = current.map(|policy| (policy.version, policy.mod_policy.as_str()));
                    check(Kind::Policy(key), (policy.version, &policy.mod_policy), current)?;
                }
            }
            places.extend(write.groups().rev().map(|(name, _)| place.below(name)));
        }
        if any { Ok(changed) } else { Err(UpdateError::NoEffect) }
    }

    /// The tree in which what is changed replaces what was there. A group has the members that it lists itself: so a changed
    /// group drops what its write set leaves out, and an unchanged one keeps what it had.
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

    /// Channels of Fabric 1.0 have elements without a mod policy, which nobody could ever change. With any capabilities of
    /// the orderers, an update makes it Admins, everywhere.
    fn mends_mod_policies(&self) -> bool {
        let orderer = self.root().below(key::ORDERER);
        let of = |group: Option<GroupRef<'a>>| group.and_then(|group| group.values().get(key::CAPABILITIES));
        // what is written and not changed was read, so it is there
        of(orderer.current).is_some() || of(orderer.write).is_some()
    }
}
