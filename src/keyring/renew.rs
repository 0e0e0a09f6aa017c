//! Renewing an index's keys: every wrap and roster record is made again, under a new grant table.
//!
//! Done for another index key, for another data key, and to take data keys out of use.
//!
//! Works from the roster, so no user's key is needed: the root opens each user's wraps with the
//! pseudorandom key it kept, and seals them again with other secrets. Users keep their place, their
//! rights, their grant number and their writer key; the root gets a new writer key, because who had
//! the old index key had the old one. Every wrap and roster record that is not written anew is
//! deleted, whoever put it there.
//!
//! Grant tables stay as they are, so that the commits which name them by hash are verified as before.
//! Under another index key each is signed again, by the hash in the record of its signature. A
//! signature that does not hold stays as it is, and the history keeps failing where it did.
//!
//! Cost: for each user two or three reads and as many seals; under another index key also, for each
//! table that is kept, a signature checked and one made (70 us), however many users it lists. All
//! of it is in memory at once: about 600 bytes a user and 200 a table.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use subtle::ConstantTimeEq;

use super::table::signature::TableSignature;
use super::table::{Principal, Table};
use super::{RootKey, Session, Wraps, read_secrets, roster, seal_wraps};
use crate::commit::{Commit, Draft};
use crate::crypto::kdf::{self, Prk};
use crate::crypto::sign::{KeyPair, PublicKey};
use crate::crypto::wrap::{self, Right};
use crate::crypto::{IndexKey, Secret, UserKey, random};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, Permissions, UserId};
use crate::store::record::Epochs;
use crate::store::{Family, Limits, Snapshot, key};

/// What is different about the keys of an index once they are renewed.
#[derive(Clone, Copy)]
pub(crate) enum Renewal<'a> {
    /// Another index key.
    IndexKey(&'a IndexKey),
    /// Another data key, which new records are sealed under. The older ones stay valid.
    DataKey,
    /// Without the data keys of these epochs.
    Without(&'a [u32]),
}

impl RootKey {
    /// The roster record of a user.
    pub(crate) fn roster_entry(
        &self,
        snapshot: &dyn Snapshot,
        user: UserId,
    ) -> Result<roster::Entry> {
        roster_entry(snapshot, &self.0.prk, self.0.index, user)
    }

    /// Puts everything that holds the keys of the index into the draft, made again, and makes `next`
    /// name the new table. Returns who signs that commit.
    pub(crate) fn renew(
        self,
        snapshot: &dyn Snapshot,
        renewal: Renewal<'_>,
        limits: Limits,
        draft: &mut Draft,
        next: &mut Commit,
    ) -> Result<Self> {
        let Session { index, names, head, table: superseded, prk: old, secrets, .. } = self.0;
        let old_verify = secrets.root_verify;
        let replaced = match renewal {
            Renewal::IndexKey(new) => Some(Prk::new(&kdf::root_prk(index, new))),
            Renewal::DataKey | Renewal::Without(_) => None,
        };
        let prk = replaced.as_ref().unwrap_or(&old);
        let signer = KeyPair::from_seed(prk.root_sign_seed());
        if replaced.is_some() && *signer.public() == old_verify {
            return Err(Error::invalid("the new index key is the old one; make another"));
        }
        let opens = Epochs::new(read_secrets(&secrets));
        let mut keys = secrets.epochs;
        keys.retain(|(n, _)| superseded.epochs.contains(n));
        match renewal {
            Renewal::IndexKey(_) => {}
            Renewal::DataKey => keys.insert(0, another(&superseded.epochs)?),
            Renewal::Without(unused) => {
                let current = superseded.epoch();
                keys.retain(|(n, _)| *n == current || !unused.contains(n));
            }
        }
        let secrets =
            wrap::Secrets { epochs: keys, name: secrets.name, root_verify: *signer.public() };

        let number = superseded.number.checked_add(1).ok_or(Error::Integrity(Fault::GrantTable))?;
        let locator = prk.locator();
        let mut puts = BTreeMap::new();
        let Wraps { records, writer } =
            seal_wraps(prk, index, locator, Permissions::ROOT, number, &secrets)?;
        let writer = writer.ok_or(Error::Integrity(Fault::Wrap))?;
        puts.extend(records);

        let numbers_of = secrets.epochs.iter().map(|(epoch, _)| *epoch);
        let mut table = Table { number, epochs: numbers_of.collect(), ..superseded };
        for principal in &mut table.principals {
            let Some(user) = principal.user else {
                *principal = Principal {
                    user: None,
                    locator,
                    permissions: Permissions::ROOT,
                    grant: number,
                    writer: Some(*writer.public()),
                    first: next.sequence,
                    last: u64::MAX,
                };
                continue;
            };
            let entry = roster_entry(snapshot, &old, index, user)?;
            if entry.user != user || entry.locator != principal.locator {
                return Err(Error::Integrity(Fault::Roster));
            }
            if let Renewal::IndexKey(new) = renewal
                && is_key_of(new, index, &entry)?
            {
                return Err(Error::invalid(
                    "the new index key is the key of a user; make one of its own",
                ));
            }
            puts.extend(rewrap(snapshot, index, principal, &entry, &secrets)?);
            let place = prk.roster_place(user);
            let sealed = roster::seal(prk, index, &place, &entry)?;
            puts.insert(key::roster(index, &place), sealed);
        }

        let epochs = Epochs::new(read_secrets(&secrets));
        if replaced.is_some() {
            let old = (&opens, &old_verify);
            puts.extend(sign_again(snapshot, index, old, (&epochs, table.epoch()), &signer)?);
        }
        puts.extend(table.seal(&signer, &epochs, limits.value)?);

        for prefix in [key::wraps(index), key::rosters(index)] {
            snapshot.scan(Family::Catalog, &prefix, &prefix, &mut |found, _| {
                if !puts.contains_key(found) {
                    draft.changes.delete(Family::Catalog, found.to_vec(), None);
                }
                ControlFlow::Continue(())
            })?;
        }
        for (key, value) in puts {
            draft.changes.put(Family::Catalog, key, None, value);
        }
        (next.table, next.table_hash) = (number, table.hash());
        Ok(Self(Session {
            index,
            epochs,
            names,
            head,
            table,
            user: None,
            grant: number,
            permissions: Permissions::ROOT,
            prk: replaced.unwrap_or(old),
            secrets,
            writer: Some(writer),
        }))
    }
}

/// A new data key, of the epoch after all there were: a number never comes again.
fn another(valid: &[u32]) -> Result<(u32, Secret)> {
    if valid.len() >= usize::from(wrap::MAX_EPOCHS) {
        return Err(Error::invalid(format!(
            "the index has {} data keys in use, which is the most it takes; run `reencrypt` to its \
             end, which takes the older ones out of use",
            wrap::MAX_EPOCHS
        )));
    }
    let last = valid.iter().max().and_then(|last| last.checked_add(1));
    Ok((last.ok_or(Error::Integrity(Fault::GrantTable))?, Secret::random()?))
}

fn roster_entry(
    snapshot: &dyn Snapshot,
    root: &Prk,
    index: IndexId,
    user: UserId,
) -> Result<roster::Entry> {
    let place = root.roster_place(user);
    let stored = snapshot.get(Family::Catalog, &key::roster(index, &place))?;
    roster::open(root, index, &place, &stored.ok_or(Error::Integrity(Fault::Roster))?)
}

/// Whether a user was granted rights under a key with these bytes.
fn is_key_of(new: &IndexKey, index: IndexId, entry: &roster::Entry) -> Result<bool> {
    let as_users = UserKey::from_bytes(new.expose())?;
    let prk = kdf::user_prk(index, entry.user, &as_users);
    Ok(bool::from(prk.expose()[..].ct_eq(&entry.prk.expose()[..])))
}

/// A user's wraps with these secrets in them, and all else as it was.
fn rewrap(
    snapshot: &dyn Snapshot,
    index: IndexId,
    principal: &Principal,
    entry: &roster::Entry,
    secrets: &wrap::Secrets,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    const DAMAGED: Error = Error::Integrity(Fault::Wrap);
    let prk = Prk::new(&entry.prk);
    let Principal { locator, permissions, grant, writer, .. } = *principal;
    let mut records = Vec::with_capacity(2);
    let rights = [(Right::Read, permissions.read()), (Right::Write, permissions.write())];
    for (right, _) in rights.into_iter().filter(|(_, granted)| *granted) {
        let place = key::wrap(index, locator, right);
        let stored = snapshot.get(Family::Catalog, &place)?.ok_or(DAMAGED)?;
        let opened = wrap::open(&prk, index, locator, right, &stored)?;
        let own = opened.writer.as_ref().map(|pair| *pair.public());
        let listed = (opened.permissions, opened.grant) == (permissions, grant)
            && (right == Right::Read || own == writer);
        if !listed {
            return Err(DAMAGED);
        }
        let header = wrap::Header { index, locator, right, permissions, grant };
        records.push((place, wrap::seal(&prk, &header, secrets, opened.writer.as_ref())?));
    }
    Ok(records)
}

/// The signatures of all grant tables, made again under another key of the root. `old`: what opens
/// and verifies them; `new`: what they are sealed under.
fn sign_again(
    snapshot: &dyn Snapshot,
    index: IndexId,
    (opens, verifies): (&Epochs, &PublicKey),
    (epochs, epoch): (&Epochs, u32),
    signer: &KeyPair,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let secret = epochs.get(epoch).ok_or(Error::Integrity(Fault::GrantTable))?;
    let (mut signed, mut outcome) = (Vec::new(), Ok(()));
    let mut again = |place: &[u8], stored: &[u8]| {
        let Some(number) = key::sequence_of(place) else { return Ok(()) };
        let old = match TableSignature::open(opens, index, number, stored) {
            Ok(old) if old.holds(&old.hash, verifies) => old,
            // Not signed: it stays as it is.
            Ok(_) | Err(Error::Integrity(_) | Error::UnsupportedFormat { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let new = TableSignature::make(old.hash, signer)?;
        signed.push(new.seal(index, number, epoch, secret, &random()?));
        Ok(())
    };
    let prefix = key::table_signatures(index);
    snapshot.scan(Family::Catalog, &prefix, &prefix, &mut |place, stored| {
        outcome = again(place, stored);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome.map(|()| signed)
}
