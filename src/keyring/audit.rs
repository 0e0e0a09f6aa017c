//! What a full check asks of keys and rights, record by record.
//!
//! A call checks the records it goes by; these checks are for all the others: every grant table
//! that is kept, every commit against the table it names, every wrap that a table lists, and the
//! root's roster. A wrap opens with its holder's key only, which the root finds in the roster; so
//! the wraps and roster records of others are checked by the root alone, and anybody else sees
//! whether they are there.

use subtle::ConstantTimeEq;

use super::table::{self, Table};
use super::{Link, Session, roster, signer};
use crate::commit::Unverified;
use crate::crypto::Secret;
use crate::crypto::kdf::{Locator, Prk};
use crate::crypto::wrap::{self, Right};
use crate::error::{Error, Fault, Result};
use crate::id::UserId;
use crate::store::{Snapshot, key};

/// A grant table that the root signed, and its hash.
pub(crate) struct SignedTable {
    table: Table,
    hash: [u8; 32],
}

impl SignedTable {
    pub(crate) const fn number(&self) -> u64 {
        self.table.number
    }
}

/// A wrap that the current table lists.
pub(crate) struct Listed {
    pub(crate) user: Option<UserId>,
    pub(crate) locator: Locator,
    pub(crate) right: Right,
}

impl Session {
    /// Whether the root is calling, who can open everybody's wraps and the roster.
    pub(crate) const fn is_root(&self) -> bool {
        self.permissions.root()
    }

    /// Reads the table with this number; it must be signed by the root.
    pub(crate) fn read_table(&self, snapshot: &dyn Snapshot, number: u64) -> Result<SignedTable> {
        self.signed(snapshot, table::read(snapshot, &self.epochs, self.index, number)?)
    }

    /// Opens the table with this number from all of its stored parts.
    pub(crate) fn open_table(
        &self,
        snapshot: &dyn Snapshot,
        number: u64,
        parts: &[Vec<u8>],
    ) -> Result<SignedTable> {
        self.signed(snapshot, table::open_whole(&self.epochs, self.index, number, parts)?)
    }

    fn signed(&self, snapshot: &dyn Snapshot, found: table::Unverified) -> Result<SignedTable> {
        found.verify(snapshot, &self.epochs, &self.secrets.root_verify)?;
        Ok(SignedTable { table: found.table, hash: found.hash })
    }

    /// The commit with the key that must have signed it, if the table it names allows it.
    pub(crate) fn link(&self, commit: Unverified, table: &SignedTable) -> Result<Link> {
        let retention = self.table.config.retention;
        let signer = signer(&commit.head.commit, &table.table, &table.hash);
        let signer = signer.filter(|_| commit.head.commit.keeps(retention));
        let signer = signer.ok_or(Error::Integrity(Fault::Commit))?;
        Ok(Link { commit, signer })
    }

    /// Every wrap that the current table lists.
    pub(crate) fn listed_wraps(&self) -> impl Iterator<Item = Listed> {
        self.table.principals.iter().flat_map(|principal| {
            let rights = principal.permissions;
            let wraps = [(Right::Read, rights.read()), (Right::Write, rights.write())];
            let (user, locator) = (principal.user, principal.locator);
            wraps.into_iter().filter(|(_, granted)| *granted).map(move |(right, _)| Listed {
                user,
                locator,
                right,
            })
        })
    }

    /// Checks a stored wrap as far as the caller can; says whether it could be opened.
    pub(crate) fn check_wrap(
        &self,
        snapshot: &dyn Snapshot,
        listed: &Listed,
        stored: &[u8],
    ) -> Result<bool> {
        let Listed { user, locator, right } = *listed;
        let damaged = Error::Integrity(Fault::Wrap);
        let principal = self.table.principal(user).ok_or(damaged.clone())?;
        let others;
        let prk = if user == self.user {
            &self.prk
        } else if self.is_root() {
            let Some(user) = user else { return Err(damaged) };
            others = Prk::new(&self.sound_roster_entry(snapshot, user)?.prk);
            &others
        } else {
            return Ok(false);
        };
        let opened = wrap::open(prk, self.index, locator, right, stored)?;
        let writer = opened.writer.as_ref();
        let sound = opened.permissions == principal.permissions
            && opened.grant == principal.grant
            && same(&opened.secrets, &self.secrets)
            && writer
                .is_none_or(|pair| pair.is_whole() && principal.writer == Some(*pair.public()));
        if sound { Ok(true) } else { Err(damaged) }
    }

    /// The users whose roster records there must be.
    pub(crate) fn roster_users(&self) -> impl Iterator<Item = UserId> {
        self.table.principals.iter().filter_map(|principal| principal.user)
    }

    /// Where the roster record of a user lies; only the root knows.
    pub(crate) fn roster_place(&self, user: UserId) -> [u8; 16] {
        self.prk.roster_place(user)
    }

    /// Opens a user's roster record, as the root; it must lead to where the table says.
    pub(crate) fn sound_roster_entry(
        &self,
        snapshot: &dyn Snapshot,
        user: UserId,
    ) -> Result<roster::Entry> {
        let damaged = || Error::Integrity(Fault::Roster);
        let place = self.prk.roster_place(user);
        let stored =
            snapshot.get(crate::store::Family::Catalog, &key::roster(self.index, &place))?;
        let entry = roster::open(&self.prk, self.index, &place, &stored.ok_or_else(damaged)?)?;
        let listed = self.table.principal(Some(user)).map(|principal| principal.locator);
        let sound = entry.user == user
            && listed == Some(entry.locator)
            && Prk::new(&entry.prk).locator() == entry.locator;
        if sound { Ok(entry) } else { Err(damaged()) }
    }
}

/// Whether two wraps hold the same secrets.
fn same(one: &wrap::Secrets, other: &wrap::Secrets) -> bool {
    let equal = |a: &Secret, b: &Secret| bool::from(a.expose().ct_eq(b.expose()));
    one.epochs.len() == other.epochs.len()
        && one.epochs.iter().zip(&other.epochs).all(|(a, b)| a.0 == b.0 && equal(&a.1, &b.1))
        && equal(&one.name, &other.name)
        && one.root_verify == other.root_verify
}
