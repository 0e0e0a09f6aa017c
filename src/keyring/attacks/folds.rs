//! Forged folds: sums that are not those of the commits that went, or of commits that must stay.

use super::*;
use crate::commit::fold::{self, Fold};

/// The fewest that an index keeps.
const KEPT: u64 = 16;

impl World {
    fn short() -> Self {
        Self::with(IndexConfig::new(Metric::Euclidean).retention(KEPT))
    }

    /// Commits that change nothing that is counted.
    fn go_on(&self, commits: u64) {
        self.as_root(|root| {
            for _ in 0..commits {
                root.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
            }
        });
    }

    /// Commits until one has folded.
    fn until_folded(&self) -> Head {
        let before = self.session(Root).head.commit.folded;
        for _ in 0..3 * KEPT {
            self.go_on(1);
            let head = self.session(Root).head;
            if head.commit.folded > before {
                return head;
            }
        }
        panic!("nothing was folded");
    }

    fn fold(&self, session: &Session, commit: &Commit) -> Fold {
        fold::read(&*self.store.snapshot(), &session.epochs, commit).unwrap()
    }

    fn put_fold(&self, session: &Session, fold: &Fold) {
        let (secret, salt) = (session.current_secret().unwrap(), crate::crypto::random().unwrap());
        let stored = fold.seal(session.table.epoch(), secret, &salt);
        self.store.put(Family::Catalog, &key::fold(self.index), &stored);
    }
}

#[test]
fn a_fold_that_is_missing_older_or_changed_ends_the_history() {
    let world = World::short();
    let reader = world.session(Reader);
    let older = world.until_folded();
    let stored = world.store.get(Family::Catalog, &key::fold(world.index)).unwrap();
    let old = world.fold(&reader, &older.commit);
    let newer = world.until_folded();
    let honest = world.store.copy();
    let true_fold = world.fold(&reader, &newer.commit);
    assert!(true_fold.through > old.through);
    world.history_holds();

    world.store.put(Family::Catalog, &key::fold(world.index), &stored);
    world.history_fails(&COMMIT);
    world.store.delete(Family::Catalog, &key::fold(world.index));
    world.history_fails(&COMMIT);
    // Sealed again by one who can: as it is, it is the same.
    world.put_fold(&reader, &true_fold);
    world.history_holds();
    let changes: [fn(&mut Fold); 5] = [
        |f| f.deleted -= 1,
        |f| f.last[0] ^= 1,
        |f| f.item_count += 1,
        |f| f.first_time = 0,
        |f| {
            let upserts = f.operations.remove(&Operation::Upsert).unwrap();
            *f.operations.get_mut(&Operation::Delete).unwrap() += upserts;
        },
    ];
    for change in changes {
        let mut fold = true_fold.clone();
        change(&mut fold);
        world.put_fold(&reader, &fold);
        assert!(Fold::decode(&fold.encode()).is_some(), "the forgery is a fold");
        world.history_fails(&COMMIT);
    }
    // The old sums in the place of the new ones.
    world.put_fold(&reader, &Fold { through: true_fold.through, ..old });
    world.history_fails(&COMMIT);
    world.store.restore(&honest);
    world.history_holds();
}

#[test]
fn a_fold_that_reaches_for_what_must_be_kept_is_refused_by_every_call() {
    let world = World::short();
    let writer = world.session(Writer);
    let own = writer.writer.as_ref().unwrap();
    world.until_folded();
    world.go_on(KEPT / 2);
    let honest = world.store.copy();
    let head = world.head(&writer.epochs).head;
    // The sums as they would be, so that it is the reach alone that is wrong.
    let fold_through = |through: u64| {
        let mut fold = world.fold(&writer, &head.commit);
        for sequence in fold.through + 1..=through {
            let commit = world.commit(&writer, sequence).head;
            (fold.through, fold.last) = (sequence, commit.hash);
            *fold.operations.entry(commit.commit.operation).or_default() += 1;
        }
        fold
    };
    let fold_as_writer = |through: u64| {
        let fold = fold_through(through);
        let mut next = world.next(&writer);
        (next.folded, next.fold) = (fold.through, fold.hash());
        world.put_fold(&writer, &fold);
        world.sign_head(&writer, &next, own);
    };
    let sequence = head.commit.sequence + 1;
    // Exactly as many as are due to stay: anybody who may write may fold.
    fold_as_writer(sequence - KEPT);
    world.history_holds();
    world.store.restore(&honest);
    for kept in [KEPT - 1, 3, 1] {
        fold_as_writer(sequence - kept);
        world.everyone_gets(&COMMIT);
        world.store.restore(&honest);
    }
    // Named, but by a number that falls or a hash that changes without one.
    for (folded, fold) in
        [(0, [0; 32]), (head.commit.folded - 1, [7; 32]), (head.commit.folded, [7; 32])]
    {
        let next = Commit { folded, fold, ..world.next(&writer) };
        world.sign_head(&writer, &next, own);
        world.everyone_gets(&COMMIT);
        world.store.restore(&honest);
    }
    fold_as_writer(sequence - KEPT);
    world.everyone_works();
}

/// A way to break a chain, by name.
type Break<'a> = (&'a str, Box<dyn Fn() + 'a>);

/// The writer's own commit goes ahead, but nothing is folded over a break.
#[test]
fn a_broken_chain_is_not_laundered_by_folding_it() {
    let world = World::short();
    let reader = world.session(Reader);
    let folded = world.until_folded().commit.folded;
    world.go_on(KEPT / 2);
    let honest = world.store.copy();
    let at = |sequence| key::commit(world.index, sequence);
    let forged = |sequence, previous| {
        let commit = world.commit(&reader, sequence);
        let forged = Commit { previous, time: 7, ..commit.head.commit };
        world.put_commit(&reader, &forged, &commit.signature);
        Signed::Commit.hash(&forged.encode())
    };
    let breaks: [Break<'_>; 4] = [
        ("missing", Box::new(|| world.store.delete(Family::Catalog, &at(folded + 9)))),
        ("no fold", Box::new(|| world.store.delete(Family::Catalog, &key::fold(world.index)))),
        (
            "one changed",
            Box::new(|| {
                forged(folded + 4, world.commit(&reader, folded + 4).head.commit.previous);
            }),
        ),
        // A chain in itself, which only the first commit that stays tells from the true one.
        (
            "all changed",
            Box::new(|| {
                let mut previous = world.commit(&reader, folded + 1).head.commit.previous;
                for sequence in folded + 1..=folded + 16 {
                    previous = forged(sequence, previous);
                }
            }),
        ),
    ];
    for (what, break_it) in breaks {
        break_it();
        world.history_fails(&COMMIT);
        let broken = world.store.copy();
        world.go_on(3 * KEPT);
        let head = world.session(Root).head.commit;
        assert_eq!(head.folded, folded, "{what}");
        world.history_fails(&COMMIT);
        // What was broken is mended: now everything that waited is folded.
        for (was, is) in honest.iter().zip(&broken) {
            for (key, value) in was.1.iter().filter(|pair| !is.1.contains(pair)) {
                world.store.put(was.0, key, value);
            }
        }
        world.history_holds();
        let head = world.until_folded().commit;
        assert_eq!(head.sequence - head.folded, KEPT, "{what}");
        world.history_holds();
        world.store.restore(&honest);
    }
}

#[test]
fn commits_put_back_below_the_fold_mean_nothing() {
    let world = World::short();
    let before = world.store.under(Family::Catalog, &key::commits(world.index));
    let told = |world: &World| {
        let index = world.warm.load_index(NAME, Reader.context()).unwrap();
        index.history(.., 1000).unwrap()
    };
    world.until_folded();
    world.until_folded();
    let honest = told(&world);
    let folded = honest.folded.as_ref().unwrap().through;
    let mut put_back = 0;
    for (key, value) in before {
        if key <= key::commit(world.index, folded) {
            world.store.put(Family::Catalog, &key, &value);
            put_back += 1;
        }
    }
    assert!(put_back > 0);
    assert_eq!(told(&world), honest);
    world.history_holds();
}

/// Superseded tables go with the last commit that named them, and the current one stays.
#[test]
fn tables_that_no_kept_commit_names_go() {
    let world = World::short();
    let numbers = || {
        let tables = world.store.under(Family::Catalog, &key::tables(world.index));
        let number = |key: &[u8]| u64::from_be_bytes(key[17..25].try_into().unwrap());
        tables.iter().map(|(key, _)| number(key)).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        world.until_folded();
        let commits = world.store.under(Family::Catalog, &key::commits(world.index));
        let root = world.session(Root);
        let oldest = root.head.commit.folded + 1;
        assert_eq!(commits[0].0, key::commit(world.index, oldest));
        let first = world.commit(&root, oldest).head.commit.table;
        assert_eq!(numbers(), (first..=root.head.commit.table).collect::<Vec<_>>());
        world.history_holds();
    }
    world.go_on(3 * KEPT);
    assert_eq!(numbers(), [world.session(Root).head.commit.table]);
    world.everyone_works();
}
