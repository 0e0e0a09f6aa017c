//! Forged histories under an honest head: only who reads the history can notice.

use super::*;
use crate::history::HistoryEntry;
use crate::id::Trace;

/// How the commits of a history were made: number, operation, by whom.
type Told = Vec<(u64, Operation, Option<UserId>)>;

impl World {
    /// The history as this caller is told it.
    fn told(db: &Database, who: Who) -> Result<Told> {
        let index = db.load_index(NAME, who.context())?;
        let commits = index.history(.., 1000)?.value.commits;
        let told = |c: &HistoryEntry| (c.version.sequence, c.operation, c.principal);
        Ok(commits.iter().map(told).collect())
    }

    /// Everybody can use the index and nobody gets its history.
    pub(super) fn history_fails(&self, expected: &Error) {
        for db in self.databases() {
            for who in [Root, Reader, Writer] {
                let index = db.load_index(NAME, who.context()).unwrap();
                assert_eq!(*index.count().unwrap(), 3, "the head is accepted");
                assert_eq!(Self::told(&db, who).as_ref(), Err(expected), "{who:?}");
            }
        }
    }

    pub(super) fn history_holds(&self) {
        for db in self.databases() {
            for who in [Root, Reader, Writer] {
                let told = Self::told(&db, who).unwrap();
                assert!(told.windows(2).all(|pair| pair[0].0 == pair[1].0 + 1), "{told:?}");
            }
        }
    }

    pub(super) fn commit(&self, session: &Session, sequence: u64) -> commit::Unverified {
        let snapshot = self.store.snapshot();
        commit::read(&*snapshot, &session.epochs, self.index, sequence).unwrap()
    }

    /// Puts a commit in the place of the one with its number and, on top of it, three that this
    /// writer makes and signs as she may.
    fn splice(&self, writer: &Session, forged: &Commit, signature: &[u8; SIGNATURE]) {
        self.cut_after(forged.sequence);
        self.put_commit(writer, forged, signature);
        let mut before = self.commit(writer, forged.sequence).head;
        assert!(before.commit == *forged, "the forgery opens");
        for _ in 0..3 {
            let mut next = before.next(Operation::Upsert, 1).unwrap();
            (next.principal, next.grant) = (writer.user, writer.grant);
            (next.table, next.table_hash) = (writer.table.number, writer.table.hash());
            self.sign_head(writer, &next, writer.writer.as_ref().unwrap());
            before = self.head(&writer.epochs).head;
        }
    }
}

fn sign(pair: &KeyPair, commit: &Commit) -> [u8; SIGNATURE] {
    pair.sign(Signed::Commit, &commit.encode()).unwrap()
}

#[test]
fn a_commit_dropped_anywhere_ends_the_history() {
    let world = World::new();
    let head = world.session(Root).head.commit.sequence;
    assert!(head > 10);
    let whole = World::told(&world.warm, Reader).unwrap();
    assert_eq!((whole.len() as u64, whole[0].0), (head, head));
    let honest = world.store.copy();
    for dropped in 1..head - 1 {
        world.store.delete(Family::Catalog, &key::commit(world.index, dropped));
        world.history_fails(&COMMIT);
        // What is newer is told.
        let index = world.warm.load_index(NAME, Reader.context()).unwrap();
        let newer = index.history(dropped + 1.., 1000).unwrap();
        assert_eq!(newer.commits.len() as u64, head - dropped);
        world.store.restore(&honest);
    }
    // The oldest ones cut off, as if they had been folded.
    for dropped in 1..5 {
        world.store.delete(Family::Catalog, &key::commit(world.index, dropped));
        world.history_fails(&COMMIT);
    }
    world.store.restore(&honest);
    assert_eq!(World::told(&world.warm, Reader), Ok(whole));
}

#[test]
fn swapped_commits_end_the_history() {
    let world = World::new();
    let reader = world.session(Reader);
    let pairs = world.store.under(Family::Catalog, &key::commits(world.index));
    let honest = world.store.copy();
    let (first, second) = (&pairs[5], &pairs[6]);
    // As they are stored,
    world.store.put(Family::Catalog, &first.0, &second.1);
    world.store.put(Family::Catalog, &second.0, &first.1);
    world.history_fails(&COMMIT);
    world.store.restore(&honest);
    // and sealed anew with each other's number, by one who can.
    let (mut a, mut b) = (world.commit(&reader, 6), world.commit(&reader, 7));
    std::mem::swap(&mut a.head.commit.sequence, &mut b.head.commit.sequence);
    world.put_commit(&reader, &a.head.commit, &a.signature);
    world.put_commit(&reader, &b.head.commit, &b.signature);
    world.history_fails(&COMMIT);
    world.store.restore(&honest);
    world.history_holds();
}

#[test]
fn a_commit_changed_by_a_reader_ends_the_history() {
    let world = World::new();
    let reader = world.session(Reader);
    let honest = world.commit(&reader, 7);
    let changes: [fn(&mut Commit); 6] = [
        |c| c.trace = Trace::Id([1; 16]),
        |c| c.time += 1,
        |c| c.updated += 1,
        |c| c.principal = Some(Other.id()),
        |c| c.set_hash[0] ^= 1,
        |c| c.grant += 1,
    ];
    // Sealing it as it was changes nothing.
    world.put_commit(&reader, &honest.head.commit, &honest.signature);
    world.history_holds();
    for change in changes {
        let mut commit = honest.head.commit.clone();
        change(&mut commit);
        world.put_commit(&reader, &commit, &honest.signature);
        world.history_fails(&COMMIT);
    }
    // The hash does not cover the signature, so that is a check of its own.
    let own = KeyPair::random().unwrap();
    world.put_commit(&reader, &honest.head.commit, &sign(&own, &honest.head.commit));
    world.history_fails(&COMMIT);
    world.put_commit(&reader, &honest.head.commit, &honest.signature);
    world.history_holds();
}

/// A writer in good standing, with the files, builds on a commit that nobody may have made. All
/// that she signs in her own name is accepted; what she puts into the mouths of others is not.
#[test]
fn a_writer_cannot_build_on_a_forgery() {
    let world = World::new();
    let revoked = world.session(Other);
    world.as_root(|root| assert!(*root.revoke(Other.id()).unwrap()));
    world.as_root(|root| root.upsert(&[Item::new("a", [1.0, 0.0])]).map(drop).unwrap());
    let (writer, reader) = (world.session(Writer), world.session(Reader));
    let own = writer.writer.as_ref().unwrap();
    let victim = world.head(&writer.epochs);
    let before = world.commit(&writer, victim.head.commit.sequence - 1).head;
    let honest = world.store.copy();

    let hers = |operation| {
        let mut commit = before.next(operation, 1).unwrap();
        (commit.principal, commit.grant) = (writer.user, writer.grant);
        commit
    };
    // The same hands with nothing forged: the true commit, or one of her own.
    world.splice(&writer, &victim.head.commit, &victim.signature);
    world.history_holds();
    world.store.restore(&honest);
    let mine = hers(Operation::Upsert);
    world.splice(&writer, &mine, &sign(own, &mine));
    world.history_holds();
    world.store.restore(&honest);

    let refused = |what: &str, commit: &Commit, signature: &[u8; SIGNATURE]| {
        world.splice(&writer, commit, signature);
        for db in world.databases() {
            db.load_index(NAME, Reader.context()).unwrap().count().unwrap();
            assert_eq!(World::told(&db, Reader), Err(COMMIT), "{what}");
        }
        world.store.restore(&honest);
    };
    let as_who = |user, grant| Commit { principal: user, grant, ..hers(Operation::Upsert) };
    let grant_of = |user| writer.table.principal(user).unwrap().grant;
    for key in [own, revoked.writer.as_ref().unwrap(), &KeyPair::random().unwrap()] {
        let root = as_who(None, grant_of(None));
        refused("in the root's name", &root, &sign(key, &root));
        let user = Some(Reader.id());
        let reading = as_who(user, grant_of(user));
        refused("in the reader's name", &reading, &sign(key, &reading));
        let gone = as_who(revoked.user, revoked.grant);
        refused("in the name of who was revoked", &gone, &sign(key, &gone));
        let mixed = as_who(writer.user, revoked.grant);
        refused("under another grant", &mixed, &sign(key, &mixed));
    }
    assert!(reader.writer.is_none());
    let other_key = KeyPair::random().unwrap();
    refused("in her name by another", &mine, &sign(&other_key, &mine));
    refused("with another's signature", &mine, &victim.signature);

    let traced = Commit { trace: Trace::Malformed, ..victim.head.commit.clone() };
    refused("with another trace", &traced, &victim.signature);
    // Her own signature does not make these true.
    let old = (revoked.table.number, revoked.table.hash());
    let fallen = Commit { table: old.0, table_hash: old.1, ..mine.clone() };
    refused("under an older table", &fallen, &sign(own, &fallen));
    let by_revoked = Commit { principal: revoked.user, grant: revoked.grant, ..fallen };
    let signed = sign(revoked.writer.as_ref().unwrap(), &by_revoked);
    refused("under the table before the revocation, by who was revoked", &by_revoked, &signed);
    let grant = Commit { table: mine.table + 1, ..hers(Operation::Grant) };
    refused("a grant", &grant, &sign(own, &grant));
    let uncounted = Commit { item_count: mine.item_count - 1, ..mine.clone() };
    refused("a delete that is not counted", &uncounted, &sign(own, &uncounted));
    let silent = Commit { total_bytes: 1, ..hers(Operation::Optimize) };
    refused("a change that is called none", &silent, &sign(own, &silent));
    let skipped = Commit { previous: victim.head.hash, ..mine.clone() };
    refused("on another commit", &skipped, &sign(own, &skipped));
    world.history_holds();
}

#[test]
fn a_table_that_older_commits_name_is_checked_too() {
    let world = World::new();
    let writer = world.session(Writer);
    let found = table::read(&*world.store.snapshot(), &writer.epochs, world.index, 2).unwrap();
    let honest = world.store.copy();
    let signature = world.signature_of(&writer, 2);
    world.put_table(&found.table, &writer, &signature);
    world.history_holds();
    let own = writer.writer.as_ref().unwrap();
    let mut table = found.table.clone();
    table.principals.retain(|principal| principal.user.is_none());
    for signature in [signature, own.sign(Signed::Table, &table.hash()).unwrap()] {
        world.put_table(&table, &writer, &signature);
        world.history_fails(&TABLE);
    }
    for (key, _) in world.store.under(Family::Catalog, &key::table(world.index, 2, 0)) {
        world.store.delete(Family::Catalog, &key);
    }
    world.history_fails(&TABLE);
    world.store.restore(&honest);
    world.history_holds();
}
