//! From a caller's key to a capability.
//!
//! [`open`] reads wrap, head and grant table from one snapshot and returns a [`Session`] only if
//! all of this holds, in this order:
//! 1. The index exists (`IndexNotFound`), and the call has a key (`MissingKey`).
//! 2. There is a wrap at the caller's locator (`WrongKey`, after a dummy unwrap) and it opens.
//! 3. The head commit and the grant table it names open under the secrets in the wrap.
//! 4. The table is signed by the root key in the wrap, and names this index.
//! 5. The commit is signed by the writer key that the table lists for the commit's principal, for
//!    this sequence; it follows the commit before it; no commit is folded that must be kept; no
//!    stored commit is later, no stored table is newer than its own, and none that this process had
//!    seen before the call.
//! 6. The table lists the wrap: locator, rights and grant number (`WrongKey`).
//! 7. The listed rights are enough (`PermissionDenied`).
//! 8. The index is not older than the commit that the caller has seen, and has it in its history
//!    (`Stale`, `Forked`, `VersionFolded`: `freshness`).
//!
//! Steps 4 and 5 are skipped for a head that this process has verified under the same root key.
//! So a self-made or restored wrap is useless, and so is a commit by a reader, by a writer whose
//! grant was taken back, or by a writer who claims to be another.
//!
//! Operations take the capability they need: [`ReadKey`], [`WriteKey`] or [`RootKey`]. There is no
//! other way to get one, so an unchecked call does not compile.
//!
//! Cost: about 6 us and five reads when the head is known; when it is not, two verifications
//! (95 us), two more reads and two short scans.

mod audit;
mod chain;
mod freshness;
mod renew;
pub(crate) mod roster;
pub(crate) mod table;
pub(crate) mod trust;

#[cfg(test)]
mod attacks;

use std::ops::{ControlFlow, Deref};

pub(crate) use audit::{Listed, SignedTable};
pub(crate) use chain::{Chain, Link};
pub(crate) use renew::Renewal;

use crate::commit::fold::fold_oldest;
use crate::commit::{self, Commit, Draft, Head};
use crate::crypto::KeyContext;
use crate::crypto::Secret;
use crate::crypto::kdf::{Locator, Names, Prk, ReadSecret, Signed};
use crate::crypto::sign::{self, KeyPair};
use crate::crypto::wrap::{self, Opened, Right};
use crate::error::{Error, Fault, Needs, Result};
use crate::id::{IndexId, Permissions, UserId, VersionToken};
use crate::store::record::Epochs;
use crate::store::{Batch, Engine, Family, Snapshot, key};
use table::Table;
use trust::{Moment, Trust};

/// A snapshot, and the moment before it was taken: what this process knew then, it must show.
pub(crate) struct View<'a> {
    snapshot: Box<dyn Snapshot + 'a>,
    before: Moment,
}

impl<'a> View<'a> {
    pub(crate) fn take(engine: &'a dyn Engine, trust: &Trust) -> Self {
        let before = trust.now();
        Self { snapshot: engine.snapshot(), before }
    }
}

impl<'a> Deref for View<'a> {
    type Target = dyn Snapshot + 'a;

    fn deref(&self) -> &Self::Target {
        &*self.snapshot
    }
}

/// What an opened wrap, a verified head and a verified table amount to.
pub(crate) struct Session {
    pub(crate) index: IndexId,
    pub(crate) epochs: Epochs,
    pub(crate) names: Names,
    pub(crate) head: Head,
    pub(crate) table: Table,
    user: Option<UserId>,
    grant: u64,
    permissions: Permissions,
    prk: Prk,
    secrets: wrap::Secrets,
    writer: Option<KeyPair>,
}

impl Session {
    /// The secret that new records are sealed under.
    pub(crate) fn current_secret(&self) -> Result<&ReadSecret> {
        self.epochs.get(self.table.epoch()).ok_or(Error::Integrity(Fault::GrantTable))
    }

    /// The dimension, if it is known yet.
    pub(crate) fn dimension(&self) -> Option<usize> {
        self.table
            .config
            .dimension
            .or_else(|| usize::try_from(self.head.commit.dimension).ok().filter(|d| *d > 0))
    }

    pub(crate) const fn permissions(&self) -> Permissions {
        self.permissions
    }
}

/// What an operation may do; there is no way to one but [`open`](Self::open).
pub(crate) trait Capability: Deref<Target = Session> + Sized {
    /// Opens the index for this caller, who has seen the commit `seen` of it besides what the
    /// caller's key says; see the module's list of checks.
    fn open(
        view: &View<'_>,
        trust: &Trust,
        index: IndexId,
        name: &str,
        caller: Option<&KeyContext>,
        seen: Option<&VersionToken>,
    ) -> Result<Self>;
}

/// A capability that can end a mutation.
pub(crate) trait Signs: Capability {
    /// The batch that ends with this commit, and the head it makes.
    fn finish(
        &self,
        snapshot: &dyn Snapshot,
        draft: Draft,
        commit: Commit,
    ) -> Result<(Batch, Head)> {
        Session::finish(self, snapshot, draft, commit)
    }
}

macro_rules! capability {
    ($(#[$doc:meta])* $name:ident, $needs:expr) => {
        $(#[$doc])*
        pub(crate) struct $name(Session);

        impl Capability for $name {
            fn open(
                view: &View<'_>,
                trust: &Trust,
                index: IndexId,
                name: &str,
                caller: Option<&KeyContext>,
                seen: Option<&VersionToken>,
            ) -> Result<Self> {
                let session = open(view, trust, index, Some(name), caller, $needs)?;
                for seen in caller.and_then(KeyContext::seen).into_iter().chain(seen) {
                    freshness::check(&**view, trust, &session, seen)?;
                }
                Ok(Self(session))
            }
        }

        impl Deref for $name {
            type Target = Session;
            fn deref(&self) -> &Session {
                &self.0
            }
        }
    };
}

capability!(
    /// Any right at all: enough for `describe`.
    AnyKey,
    None
);
capability!(
    /// The right to read.
    ReadKey,
    Some(Needs::Read)
);
capability!(
    /// The right to write: can sign commits.
    WriteKey,
    Some(Needs::Write)
);
capability!(
    /// The index key: can sign commits and grant tables.
    RootKey,
    Some(Needs::Root)
);

impl Signs for WriteKey {}
impl Signs for RootKey {}

impl RootKey {
    /// The pseudorandom key of the root, for the roster.
    pub(crate) const fn prk(&self) -> &Prk {
        &self.0.prk
    }

    /// Derives the key that signs tables: about 19 us. A table that it signed must verify for
    /// everybody, so it has to be the key that the wraps name.
    pub(crate) fn signer(&self) -> Result<KeyPair> {
        let signer = KeyPair::from_seed(self.0.prk.root_sign_seed());
        let named = *signer.public() == self.0.secrets.root_verify;
        named.then_some(signer).ok_or(Error::Integrity(Fault::Wrap))
    }

    /// Seals a user's wraps. The writer key is made here and leaves only its public half.
    pub(crate) fn wrap_for(
        &self,
        prk: &Prk,
        locator: Locator,
        permissions: Permissions,
        grant: u64,
    ) -> Result<Wraps> {
        seal_wraps(prk, self.0.index, locator, permissions, grant, &self.0.secrets)
    }
}

impl Session {
    fn finish(
        &self,
        snapshot: &dyn Snapshot,
        mut draft: Draft,
        mut commit: Commit,
    ) -> Result<(Batch, Head)> {
        commit.principal = self.user;
        commit.grant = self.grant;
        commit.epoch = self.table.epoch();
        let Self { epochs, head, .. } = self;
        let retention = self.table.config.retention;
        fold_oldest(snapshot, epochs, head, retention, &mut draft, &mut commit)?;
        // Nobody would accept it: better to fail here than for ever.
        if !commit.follows(head) || !commit.keeps(retention) {
            return Err(Error::Integrity(Fault::Commit));
        }
        let signer = self.writer.as_ref().ok_or(Error::Integrity(Fault::Wrap))?;
        let expected = commit::head_value(self.head.commit.sequence);
        draft.finish(commit, Some(expected), signer, self.current_secret()?)
    }

    /// Remembers a head that this session just committed.
    pub(crate) fn remember(&self, trust: &Trust, head: &Head) {
        trust.remember(self.index, &self.secrets.root_verify, head);
    }
}

/// The sealed wraps of one principal, ready to be stored.
pub(crate) struct Wraps {
    pub(crate) records: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) writer: Option<KeyPair>,
}

/// Seals the wraps that `permissions` call for, with a fresh writer key if they include writing.
pub(crate) fn seal_wraps(
    prk: &Prk,
    index: IndexId,
    locator: Locator,
    permissions: Permissions,
    grant: u64,
    secrets: &wrap::Secrets,
) -> Result<Wraps> {
    let mut records = Vec::with_capacity(2);
    let header = |right| wrap::Header { index, locator, right, permissions, grant };
    if permissions.read() {
        let sealed = wrap::seal(prk, &header(Right::Read), secrets, None)?;
        records.push((key::wrap(index, locator, Right::Read), sealed));
    }
    let mut writer = None;
    if permissions.write() {
        let pair = KeyPair::random()?;
        let sealed = wrap::seal(prk, &header(Right::Write), secrets, Some(&pair))?;
        records.push((key::wrap(index, locator, Right::Write), sealed));
        writer = Some(pair);
    }
    Ok(Wraps { records, writer })
}

/// The name of the index with this id, if `caller` has any right in it.
pub(crate) fn name_of(
    view: &View<'_>,
    trust: &Trust,
    index: IndexId,
    caller: &KeyContext,
) -> Result<String> {
    open(view, trust, index, None, Some(caller), None).map(|session| session.table.name)
}

fn open(
    view: &View<'_>,
    trust: &Trust,
    index: IndexId,
    name: Option<&str>,
    caller: Option<&KeyContext>,
    needs: Option<Needs>,
) -> Result<Session> {
    let snapshot = &**view;
    let head = snapshot.get(Family::Catalog, &key::head(index))?.ok_or(Error::IndexNotFound)?;
    let caller = caller.ok_or(Error::MissingKey)?;
    let sequence = commit::head_sequence(&head)?;

    let prk = Prk::new(&caller.prk(index));
    let locator = prk.locator();
    let opened = unwrap(snapshot, &prk, index, locator, needs)?;
    let all = Epochs::new(read_secrets(&opened.secrets));

    let head = commit::read(snapshot, &all, index, sequence)?;
    let table = table::read(snapshot, &all, index, head.head.commit.table)?;
    let root = &opened.secrets.root_verify;
    if !trust.knows(index, root, &head.head, &table.hash) {
        table.verify(snapshot, &all, root)?;
        verify_head(snapshot, &all, &head, &table)?;
        if trust.outdates(index, root, table.table.number, view.before) {
            return Err(Error::Stale);
        }
        trust.remember(index, root, &head.head);
    }
    let (head, table) = (head.head, table.table);
    if name.is_some_and(|name| name != table.name) {
        return Err(Error::Integrity(Fault::GrantTable));
    }

    let listed = table.principal(caller.user_id()).is_some_and(|principal| {
        principal.locator == locator
            && principal.permissions == opened.permissions
            && principal.grant == opened.grant
    });
    if !listed {
        return Err(Error::WrongKey);
    }
    if let Some(needs) = needs.filter(|needs| !met_by(*needs, opened.permissions)) {
        return Err(Error::PermissionDenied { needs });
    }
    // The rights say write, but the wrap that was left is not the write wrap.
    if matches!(needs, Some(Needs::Write | Needs::Root)) && opened.writer.is_none() {
        return Err(Error::Integrity(Fault::Wrap));
    }
    let valid = read_secrets(&opened.secrets);
    let valid = valid.into_iter().filter(|(epoch, _)| table.epochs.contains(epoch)).collect();
    Ok(Session {
        index,
        epochs: Epochs::new(valid),
        names: Names::new(&opened.secrets.name),
        head,
        table,
        user: caller.user_id(),
        grant: opened.grant,
        permissions: opened.permissions,
        prk,
        secrets: opened.secrets,
        writer: opened.writer,
    })
}

/// Finds and opens the caller's wrap: the one that serves the need if there is one, else the other,
/// so that a caller who lacks the right is told so and not that the key is wrong.
fn unwrap(
    snapshot: &dyn Snapshot,
    prk: &Prk,
    index: IndexId,
    locator: Locator,
    needs: Option<Needs>,
) -> Result<Opened> {
    let order = match needs {
        None | Some(Needs::Read) => [Right::Read, Right::Write],
        Some(Needs::Write | Needs::Root) => [Right::Write, Right::Read],
    };
    let keys = order.map(|right| key::wrap(index, locator, right));
    let stored = snapshot.multi_get(Family::Catalog, &keys)?;
    let found = order.into_iter().zip(stored).find_map(|(right, value)| Some((right, value?)));
    let Some((right, stored)) = found else {
        wrap::dummy(prk, index, locator);
        return Err(Error::WrongKey);
    };
    wrap::open(prk, index, locator, right, &stored)
}

const fn met_by(needs: Needs, granted: Permissions) -> bool {
    match needs {
        Needs::Read => granted.read(),
        Needs::Write => granted.write(),
        Needs::Root => granted.root(),
    }
}

fn read_secrets(secrets: &wrap::Secrets) -> Vec<(u32, ReadSecret)> {
    secrets.epochs.iter().map(|(epoch, secret)| (*epoch, ReadSecret::new(secret))).collect()
}

/// The key that must have signed this commit, if the table it names lets its principal sign it.
fn signer(commit: &Commit, table: &Table, hash: &[u8; 32]) -> Option<sign::PublicKey> {
    if (commit.table, &commit.table_hash) != (table.number, hash) {
        return None;
    }
    let principal = table.principal(commit.principal)?;
    let may = principal.grant == commit.grant
        && (principal.first..=principal.last).contains(&commit.sequence);
    principal.writer.filter(|_| may)
}

/// Checks a head against the table it names (itself verified), its predecessor and newer tables.
fn verify_head(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    head: &commit::Unverified,
    table: &table::Unverified,
) -> Result<()> {
    let damaged = Error::Integrity(Fault::Commit);
    let commit = &head.head.commit;
    let signer = signer(commit, &table.table, &table.hash).ok_or_else(|| damaged.clone())?;
    if !sign::verify(&signer, Signed::Commit, &head.body, &head.signature)
        || !commit.keeps(table.table.config.retention)
    {
        return Err(damaged);
    }
    let follows = if commit.sequence == 1 {
        commit.begins()
    } else {
        let before = commit.sequence.saturating_sub(1);
        commit.follows(&commit::read(snapshot, secrets, commit.index, before)?.head)
    };
    if !follows {
        return Err(damaged);
    }
    // Nobody signs the head record, so it must name the last commit there is; and a writer whose
    // grant was taken back can only sign under a table that was superseded.
    let later = key::commit(commit.index, commit.sequence.saturating_add(1));
    let newer = key::table(commit.index, commit.table.saturating_add(1), 0);
    let mut superseded = false;
    for (prefix, from) in [(key::commits(commit.index), later), (key::tables(commit.index), newer)]
    {
        snapshot.scan(Family::Catalog, &prefix, &from, &mut |_, _| {
            superseded = true;
            ControlFlow::Break(())
        })?;
    }
    if superseded { Err(damaged) } else { Ok(()) }
}

/// The secrets of a new index.
pub(crate) fn new_secrets(root: &KeyPair, epoch: u32) -> Result<wrap::Secrets> {
    Ok(wrap::Secrets {
        epochs: vec![(epoch, Secret::random()?)],
        name: Secret::random()?,
        root_verify: *root.public(),
    })
}
