//! Attacks by people who hold some keys and can write the store's bytes.
//!
//! The attacker is never given less than she could have: she opens her own session, keeps what is
//! in it after her rights are gone, seals with the real secrets and the library's own functions,
//! and puts the result into the store past the library. Each test first shows that the honest thing
//! works, or that the forged bytes open, so that it is the check under test that refuses.
//!
//! Everything is tried twice: on a database that has verified the honest state before, and on one
//! that has seen nothing, as after a restart.

mod commits;
mod folds;
mod freshness;
mod history;
mod nodes;
mod records;
mod tables;
mod whole;
mod wraps;

use std::ops::ControlFlow;

use super::table::signature::TableSignature;
use super::table::{self, Table};
use super::*;
use crate::commit::Operation;
use crate::config::IndexConfig;
use crate::crypto::sethash::{Element, SetHash};
use crate::crypto::sign::SIGNATURE;
use crate::crypto::{IndexKey, UserKey};
use crate::database::Database;
use crate::index::{Include, Index, Item};
use crate::store::Engine;
use crate::store::tampering::Tampering;
use crate::vector::Metric;

const NAME: &str = "notes";
const COMMIT: Error = Error::Integrity(Fault::Commit);
const TABLE: Error = Error::Integrity(Fault::GrantTable);

/// Who takes part. The numbers are user ids and key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    Reader,
    Writer,
    Other,
}

use Who::{Other, Reader, Root, Writer};

const EVERYONE: [Who; 4] = [Root, Reader, Writer, Other];

impl Who {
    const fn rights(self) -> Permissions {
        match self {
            Root => Permissions::ROOT,
            Reader => Permissions::READ,
            Writer | Other => Permissions::READ_WRITE,
        }
    }

    fn id(self) -> UserId {
        UserId([self as u8; 16])
    }

    fn user_key(self) -> UserKey {
        UserKey::from_bytes(&[self as u8 + 100; 32]).unwrap()
    }

    fn context(self) -> KeyContext {
        match self {
            Root => KeyContext::root(index_key()),
            user => KeyContext::user(user.id(), user.user_key()),
        }
    }
}

fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

/// An index with three items, a reader and two writers, and the bytes it is stored in.
struct World {
    store: Tampering,
    /// Has verified the honest state.
    warm: Database,
    index: IndexId,
}

impl World {
    fn new() -> Self {
        Self::with(IndexConfig::new(Metric::Euclidean))
    }

    fn with(config: IndexConfig) -> Self {
        let store = Tampering::new();
        let warm = store.open();
        let index = warm.create_index(NAME, &index_key(), config).unwrap().id();
        let world = Self { store, warm, index };
        world.as_root(|root| {
            for user in [Reader, Writer, Other] {
                root.grant(user.id(), &user.user_key(), user.rights()).unwrap();
            }
            let item = |id, x: f32| Item::new(id, [x, 0.0]).contents(format!("contents of {id}"));
            root.upsert(&[item("a", 1.0), item("b", 2.0), item("c", 3.0)]).unwrap();
        });
        world.everyone_works();
        world
    }

    /// The database that has seen the honest state, and one that has just been opened.
    fn databases(&self) -> [Database; 2] {
        [self.warm.clone(), self.store.open()]
    }

    fn as_root<T>(&self, call: impl FnOnce(&Index<'_>) -> T) -> T {
        call(&self.warm.load_index(NAME, Root.context()).unwrap())
    }

    /// What a caller gets by opening the index: all that an attacker may keep.
    fn session(&self, who: Who) -> Session {
        self.try_session(who).unwrap()
    }

    fn try_session(&self, who: Who) -> Result<Session> {
        let trust = Trust::default();
        let view = View::take(&self.store, &trust);
        let needs = Some(if who.rights().write() { Needs::Write } else { Needs::Read });
        open(&view, &trust, self.index, Some(NAME), Some(&who.context()), needs)
    }

    /// The head as it is now, opened with secrets from whenever.
    fn head(&self, epochs: &Epochs) -> commit::Unverified {
        let stored = self.store.get(Family::Catalog, &key::head(self.index)).unwrap();
        let sequence = commit::head_sequence(&stored).unwrap();
        commit::read(&*self.store.snapshot(), epochs, self.index, sequence).unwrap()
    }

    /// Puts a commit with this signature in its place, past the library.
    fn put_commit(&self, session: &Session, commit: &Commit, signature: &[u8; SIGNATURE]) {
        let secret = session.current_secret().unwrap();
        let stored = commit::seal_raw(commit, signature, secret, &crate::crypto::random().unwrap());
        self.store.put(Family::Catalog, &key::commit(self.index, commit.sequence), &stored);
    }

    /// Puts a commit with this signature at the head, past the library, and shows that it opens.
    fn put_head(&self, session: &Session, commit: &Commit, signature: &[u8; SIGNATURE]) {
        let sequence = commit.sequence;
        self.put_commit(session, commit, signature);
        self.store.put(Family::Catalog, &key::head(self.index), &commit::head_value(sequence));
        assert!(self.head(&session.epochs).head.commit == *commit, "the forgery opens");
    }

    /// Signs a commit and puts it at the head.
    fn sign_head(&self, session: &Session, commit: &Commit, signer: &KeyPair) {
        let signature = signer.sign(Signed::Commit, &commit.encode()).unwrap();
        self.put_head(session, commit, &signature);
    }

    /// Removes the commits after this one, which would show that it is not the last.
    fn cut_after(&self, sequence: u64) {
        for (key, _) in self.store.under(Family::Catalog, &key::commits(self.index)) {
            if key > key::commit(self.index, sequence) {
                self.store.delete(Family::Catalog, &key);
            }
        }
    }

    /// A commit on the current head in the name of this session, as its own writer would make it.
    fn next(&self, session: &Session) -> Commit {
        let mut next = self.head(&session.epochs).head.next(Operation::Upsert, 1).unwrap();
        next.principal = session.user;
        next.grant = session.grant;
        next
    }

    /// Puts a table with any signature of its hash.
    fn put_table(&self, table: &Table, session: &Session, signature: &[u8; SIGNATURE]) {
        let salts = [(); 2].map(|()| crate::crypto::random().unwrap());
        let secret = session.current_secret().unwrap();
        let signed = TableSignature { hash: table.hash(), signature: *signature };
        for (key, value) in table.seal_raw(&signed, secret, &salts, self.store.limits().value) {
            self.store.put(Family::Catalog, &key, &value);
        }
        let found = table::read(&*self.store.snapshot(), &session.epochs, self.index, table.number);
        assert!(found.unwrap().table == *table, "the forgery opens");
    }

    /// The stored signature of the table with this number.
    fn signature_of(&self, session: &Session, number: u64) -> [u8; SIGNATURE] {
        let snapshot = self.store.snapshot();
        let found = TableSignature::read(&*snapshot, &session.epochs, self.index, number);
        found.unwrap().signature
    }

    /// Every call of every caller fails with this error, and nothing is written.
    fn everyone_gets(&self, expected: &Error) {
        for db in self.databases() {
            for who in EVERYONE {
                self.gets(&db, who, expected);
            }
        }
    }

    /// Every call of one caller fails with this error, and nothing is written.
    fn gets(&self, db: &Database, who: Who, expected: &Error) {
        let before = self.store.copy();
        for (call, found) in calls(db, who) {
            assert_eq!(found.as_ref(), Err(expected), "{who:?} {call}");
        }
        assert!(before == self.store.copy(), "a refused call writes nothing");
    }

    /// Every caller can do all that it has the right to, and no more. The items stay the same.
    fn everyone_works(&self) {
        for db in self.databases() {
            for who in EVERYONE {
                self.works(&db, who);
            }
        }
    }

    fn works(&self, db: &Database, who: Who) {
        for (call, found) in calls(db, who) {
            let needs = match call {
                "upsert" | "delete" => Needs::Write,
                "grant" | "revoke" | "users" => Needs::Root,
                _ => Needs::Read,
            };
            let denied = Err(Error::PermissionDenied { needs });
            let expected = if met_by(needs, who.rights()) { Ok(()) } else { denied };
            assert_eq!(found, expected, "{who:?} {call}");
        }
        assert_eq!(self.store.under(Family::Items, &key::items(self.index)).len(), 3);
    }

    /// The set hash of the records that are stored: what a full check recomputes.
    fn set_hash(&self) -> SetHash {
        let mut set = SetHash::empty();
        for family in [Family::Items, Family::Nodes, Family::Attributes] {
            for (key, value) in self.store.under(family, &self.index.0) {
                set.add(&Element::new(&key, &value));
            }
        }
        set
    }

    /// Whether the signed set hash is that of what is stored.
    fn set_hash_holds(&self) -> bool {
        self.set_hash().digest() == self.session(Root).head.commit.set_hash
    }
}

/// The outcome of one call of each kind.
fn calls(db: &Database, who: Who) -> Vec<(&'static str, Result<()>)> {
    let caller = who.context();
    let unbound = db.open_index(NAME).unwrap();
    let mut outcomes = vec![("load", db.load_index(NAME, who.context()).map(drop))];
    outcomes.append(&mut calls_on(&unbound.with_key(&caller)));
    outcomes
}

fn calls_on(index: &Index<'_>) -> Vec<(&'static str, Result<()>)> {
    let item = Item::new("d", [4.0, 0.0]);
    let mut outcomes = vec![
        ("describe", index.describe().map(drop)),
        ("count", index.count().map(drop)),
        ("get", index.get(&["a"], Include::ALL).map(drop)),
        ("query", index.query(&[0.0, 0.0]).run().map(drop)),
        ("list", index.list_ids(10, None).map(drop)),
        ("visit", index.for_each(Include::ALL, |_| ControlFlow::Continue(())).map(drop)),
        ("history", index.history(.., 100).map(drop)),
        ("verify_tree", index.verify_tree().map(drop)),
        ("users", index.users().map(drop)),
    ];
    // Writing calls come last; each undoes what it did if it was let.
    outcomes.push(("upsert", index.upsert(&[item]).map(drop)));
    outcomes.push(("delete", index.delete(&["d"]).map(drop)));
    let stranger = UserId([99; 16]);
    let key = UserKey::from_bytes(&[99; 32]).unwrap();
    outcomes.push(("grant", index.grant(stranger, &key, Permissions::READ).map(drop)));
    outcomes.push(("revoke", index.revoke(stranger).map(drop)));
    outcomes
}
