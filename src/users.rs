//! Users: granting and revoking rights. Only the index key can.
//!
//! Steps of a grant, all in one synced batch, so that a crash leaves all of it or nothing:
//! 1. The user's old wraps go, wherever they were (a new user key means a new place).
//! 2. New wraps are stored at the new place, with a fresh writer key if they include writing.
//! 3. The roster keeps the user's pseudorandom key, sealed for the root.
//! 4. A new grant table, signed by the root, lists the user with the new grant number; the old
//!    writer key is not in it, so its holder can sign no further commit.
//! 5. A commit by the root names the new table.
//!
//! A revocation is the same without 2 and 3, and the roster record goes. After its batch it purges
//! the catalog; the batch says that this is owed, so a crash in between leaves it to the next open.

use crate::commit::{self, Draft, Operation};
use crate::crypto::UserKey;
use crate::crypto::kdf::Locator;
use crate::crypto::kdf::{self, Prk};
use crate::crypto::wrap::Right;
use crate::error::{Error, Fault, Result};
use crate::id::{Permissions, UserId, VersionToken};
use crate::index::{Answer, Index, Outcome};
use crate::keyring::table::{MAX_USERS, Principal, Table};
use crate::keyring::{RootKey, Wraps, roster};
use crate::observe::Call;
use crate::purge;
use crate::store::owed::Parts;
use crate::store::{Family, Limits, key};

/// A user and its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The id the user was granted under.
    pub id: UserId,
    /// What it may do.
    pub permissions: Permissions,
}

impl Index<'_> {
    /// Gives a user these rights, in place of any it had; returns the commit. Needs the index key;
    /// always synced.
    ///
    /// The user's key is not stored. From this call on, a key the user was granted under before no
    /// longer works.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] unless the caller holds the index key;
    /// [`Error::InvalidArgument`] if the index has as many users as it takes (4,096), or if the
    /// user key is the index key; and those of every call.
    ///
    /// ```
    /// use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric, Permissions, UserId, UserKey};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// let index = db.load_index("notes", KeyContext::root(key))?;
    /// let (alice, alices_key) = (UserId::from_bytes(&[1; 16])?, UserKey::generate()?);
    /// index.grant(alice, &alices_key, Permissions::READ)?;
    ///
    /// let alice = KeyContext::user(alice, alices_key);
    /// let refused = index.with_key(&alice).delete(&["a"]).unwrap_err();
    /// assert_eq!(refused.code(), "permission_denied");
    /// # Ok(())
    /// # }
    /// ```
    pub fn grant(
        &self,
        user: UserId,
        user_key: &UserKey,
        permissions: Permissions,
    ) -> Result<VersionToken> {
        let granted = self.during(Call::Grant).administer(|snapshot, root, limits| {
            if permissions.root() {
                return Err(Error::invalid(
                    "root rights come with the index key and cannot be granted",
                ));
            }
            if self.key().is_some_and(|own| own.is_same_key(user_key)) {
                return Err(Error::invalid("the user key is the index key; make a key of its own"));
            }
            let secret = kdf::user_prk(self.id(), user, user_key);
            let prk = Prk::new(&secret);
            let locator = prk.locator();
            let mut table = successor(&root.table)?;
            let number = table.number;
            let old = take(&mut table, user);
            if table.principals.len() > MAX_USERS {
                return Err(Error::invalid(format!(
                    "the index has {MAX_USERS} users, which is the most it takes; revoke some"
                )));
            }
            let Wraps { records, writer } = root.wrap_for(&prk, locator, permissions, number)?;
            let next = root.head.next(Operation::Grant, commit::now())?;
            let principal = Principal {
                user: Some(user),
                locator,
                permissions,
                grant: number,
                writer: writer.map(|pair| *pair.public()),
                first: next.sequence.saturating_add(1),
                last: u64::MAX,
            };
            let place = table.principals.partition_point(|other| other.user < Some(user));
            table.principals.insert(place, principal);

            let mut draft = Draft::begin(snapshot, &root.head)?;
            if let Some(old) = old {
                remove_wraps(&mut draft, root, old.locator);
            }
            for (key, value) in records {
                draft.changes.put(Family::Catalog, key, None, value);
            }
            let place = root.prk().roster_place(user);
            let entry = roster::Entry { user, locator, prk: secret };
            let entry = roster::seal(root.prk(), self.id(), &place, &entry)?;
            draft.changes.put(Family::Catalog, key::roster(self.id(), &place), None, entry);
            replace_table(draft, next, root, &table, limits)
        })?;
        Ok(granted.version)
    }

    /// Takes every right from a user; says whether it had any. Needs the index key; always synced.
    ///
    /// It acts on the user's next call, on handles that are open too. It does not reach copies of
    /// the files made before; docs/security.md says what does. Whoever asks for the answer's version
    /// ([`at_least`](Self::at_least)) is not served from one.
    ///
    /// It ends with a purge of the wraps it removed, for which it waits up to five seconds if
    /// running calls hold older data. A crash in between loses nothing: the next open for writing
    /// does it.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] unless the caller holds the index key;
    /// [`Error::PurgeIncomplete`] if the user has no rights any more, but files still hold its
    /// wraps ([`describe`](Self::describe) has the version then); and those of every call.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric, Permissions, UserId, UserKey};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let (alice, alices_key) = (UserId::from_bytes(&[1; 16])?, UserKey::generate()?);
    /// index.grant(alice, &alices_key, Permissions::READ)?;
    ///
    /// let revoked = index.revoke(alice)?;
    /// assert!(*revoked);
    /// // The services that keep this are not served from a copy in which alice still has rights.
    /// assert!(index.at_least(revoked.version).users()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn revoke(&self, user: UserId) -> Result<Answer<bool>> {
        self.observed(Call::Revoke, |seen| {
            let revoked = self.take_back(user)?;
            seen.sequence = Some(revoked.version.sequence);
            Ok(revoked)
        })
    }

    fn take_back(&self, user: UserId) -> Result<Answer<bool>> {
        let revoked = self.administer(|snapshot, root, limits| {
            let mut table = successor(&root.table)?;
            let Some(old) = take(&mut table, user) else { return Ok(Outcome::Nothing(false)) };
            let next = root.head.next(Operation::Revoke, commit::now())?;
            let mut draft = Draft::begin(snapshot, &root.head)?;
            remove_wraps(&mut draft, root, old.locator);
            let place = root.prk().roster_place(user);
            draft.changes.delete(Family::Catalog, key::roster(self.id(), &place), None);
            let outcome = replace_table(draft, next, root, &table, limits)?;
            Ok(match outcome {
                Outcome::Changed(draft, next, ()) => Outcome::Changed(draft, next, true),
                Outcome::Nothing(()) => Outcome::Nothing(false),
            })
        })?;
        if revoked.value {
            purge::conclude(self.shared(), self.id(), Parts::RIGHTS, "the rights are taken back")?;
        }
        Ok(Answer { value: revoked.value, version: revoked.version })
    }

    /// The users and their rights, sorted by id. Needs the index key.
    ///
    /// Opens every roster record, so that a damaged one is found before a rotation needs it.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] unless the caller holds the index key; [`Error::Integrity`] if
    /// a roster record is damaged or missing; and those of every call.
    pub fn users(&self) -> Result<Answer<Vec<User>>> {
        self.during(Call::Users).inspect(|snapshot, root: &RootKey| {
            let users = root.table.principals.iter();
            let users = users.filter_map(|p| Some((p.user?, p)));
            let users = users.map(|(id, principal)| {
                let entry = root.roster_entry(snapshot, id)?;
                if entry.user == id && entry.locator == principal.locator {
                    Ok(User { id, permissions: principal.permissions })
                } else {
                    Err(Error::Integrity(Fault::Roster))
                }
            });
            let value = users.collect::<Result<Vec<User>>>()?;
            Ok(Answer { value, version: self.token(&root.head) })
        })
    }
}

/// The next table, so far the same.
fn successor(table: &Table) -> Result<Table> {
    let number = table.number.checked_add(1).ok_or(Error::Integrity(Fault::GrantTable))?;
    Ok(Table { number, ..table.clone() })
}

fn take(table: &mut Table, user: UserId) -> Option<Principal> {
    let place = table.principals.iter().position(|principal| principal.user == Some(user))?;
    Some(table.principals.remove(place))
}

fn remove_wraps(draft: &mut Draft, root: &RootKey, locator: Locator) {
    for right in [Right::Read, Right::Write] {
        draft.changes.delete(Family::Catalog, key::wrap(root.index, locator, right), None);
    }
}

/// Puts the new table into the draft and makes the commit name it.
fn replace_table(
    mut draft: Draft,
    mut next: commit::Commit,
    root: &RootKey,
    table: &Table,
    limits: Limits,
) -> Result<Outcome<()>> {
    next.table = table.number;
    next.table_hash = table.hash();
    for (key, value) in table.seal(&root.signer()?, &root.epochs, limits.value)? {
        draft.changes.put(Family::Catalog, key, None, value);
    }
    Ok(Outcome::Changed(draft, next, ()))
}
