//! Whole histories put back or replaced: what no key forges and only a version token shows.

use super::*;
use crate::id::VersionToken;

impl World {
    fn token(&self) -> VersionToken {
        self.as_root(|root| root.describe().unwrap().version)
    }

    /// Commits without changing the items.
    fn write(&self, commits: u64) {
        let db = self.store.open();
        let root = db.load_index(NAME, Root.context()).unwrap();
        for _ in 0..commits {
            root.upsert(&[Item::new("a", [1.0, 0.0]).contents("contents of a")]).unwrap();
            root.update("a", crate::index::Update::new().contents("other")).unwrap();
        }
    }

    /// Every call of every caller who has seen this commit fails so and writes nothing, in a process
    /// that has seen something and in one that has not; or those succeed that read.
    fn demanding(&self, token: VersionToken, expected: &Result<()>) {
        for db in self.databases() {
            self.demand(&db, token, expected);
        }
    }

    fn demand(&self, db: &Database, token: VersionToken, expected: &Result<()>) {
        let before = self.store.copy();
        for who in EVERYONE {
            let caller = who.context();
            let index = db.open_index(NAME).unwrap();
            let index = index.with_key(&caller).at_least(token);
            if expected.is_ok() {
                assert_eq!(index.count().map(drop), Ok(()), "{who:?} {token}");
                continue;
            }
            for (call, found) in calls_on(&index) {
                if !matches!(found, Err(Error::PermissionDenied { .. })) {
                    assert_eq!(&found, expected, "{who:?} {call} {token}");
                }
            }
            let carried = who.context().at_least(token);
            assert_eq!(&db.load_index(NAME, carried).map(drop), expected, "{who:?} load");
            if who == Root {
                let carried = who.context().at_least(token);
                assert_eq!(&db.delete_index(NAME, &carried), expected, "{who:?}");
            }
        }
        assert!(before == self.store.copy(), "a refused call writes nothing");
    }
}

#[test]
fn tokens_of_every_commit_are_in_the_history() {
    let world = World::new();
    let mut tokens = vec![world.token()];
    for _ in 0..4 {
        world.write(1);
        tokens.push(world.token());
    }
    for token in tokens.iter().chain(tokens.iter().rev()) {
        world.demanding(*token, &Ok(()));
    }
    for token in tokens {
        // Every call, those that write included; and each text is read as the token.
        let index = world.warm.load_index(NAME, Root.context().at_least(token)).unwrap();
        for (call, found) in calls_on(&index.at_least(token)) {
            assert_eq!(found, Ok(()), "{call}");
        }
        assert_eq!(token.to_string().parse(), Ok(token));
    }
}

#[test]
fn everything_put_back_is_stale_and_forked_when_it_goes_on() {
    let world = World::new();
    let (early, backup) = (world.token(), world.store.copy());
    world.write(3);
    let seen = world.token();
    world.demanding(seen, &Ok(()));
    world.store.restore(&backup);
    world.demanding(seen, &Err(Error::Stale));
    world.demanding(early, &Ok(()));
    // Up to the sequence of the token, at it, and far behind it.
    for (commits, expected) in [(2, Error::Stale), (1, Error::Forked), (300, Error::Forked)] {
        world.write(commits);
        assert_eq!(world.token().sequence >= seen.sequence, expected == Error::Forked);
        world.demanding(seen, &Err(expected.clone()));
        world.demanding(seen, &Err(expected));
        world.demanding(early, &Ok(()));
    }
}

#[test]
fn an_older_catalog_is_stale_or_forked_and_other_families_are_not_a_matter_of_tokens() {
    for family in Family::ALL {
        let world = World::new();
        let backup = world.store.copy();
        world.write(2);
        let seen = world.token();
        let old: Vec<_> = backup.iter().filter(|(of, _)| *of == family).cloned().collect();
        world.store.restore(&old);
        let root = world.store.open().load_index(NAME, Root.context()).unwrap();
        let told = root.at_least(seen).count().map(drop);
        if family == Family::Catalog {
            assert_eq!(told, Err(Error::Stale));
        } else {
            assert_eq!(told, Ok(()), "{family:?}");
        }
    }
}

#[test]
fn what_was_walked_is_not_read_again_and_a_failure_is_not_kept() {
    let world = World::new();
    let early = world.token();
    world.write(300);
    let second = world.token();
    let middle = early.sequence + 5;
    let place = key::commit(world.index, middle);
    let stored = world.store.get(Family::Catalog, &place).unwrap();
    let seen_by = |db: &Database| {
        db.load_index(NAME, Reader.context()).unwrap().at_least(early).count().map(drop)
    };
    world.store.delete(Family::Catalog, &place);
    let db = world.store.open();
    assert_eq!(seen_by(&db), Err(COMMIT));
    world.store.put(Family::Catalog, &place, &stored);
    assert_eq!(seen_by(&db), Ok(()));
    // Known by now; and so it is behind a later head.
    world.store.delete(Family::Catalog, &place);
    assert_eq!(seen_by(&db), Ok(()));
    world.write(2);
    assert_eq!(seen_by(&db), Ok(()));
    assert_eq!(seen_by(&world.store.open()), Err(COMMIT));
    let other = db.load_index(NAME, Reader.context()).unwrap().at_least(second).count();
    assert_eq!(*other.unwrap(), 3);
}

#[test]
fn what_is_known_of_one_history_counts_for_no_other() {
    let world = World::new();
    let (early, backup) = (world.token(), world.store.copy());
    world.write(3);
    let lost = world.token();
    world.write(3);
    world.demanding(lost, &Ok(()));
    world.store.restore(&backup);
    world.write(9);
    world.demanding(lost, &Err(Error::Forked));
    world.demanding(early, &Ok(()));
    let new = world.token();
    world.write(1);
    world.demanding(new, &Ok(()));
    world.demanding(lost, &Err(Error::Forked));
}

#[test]
fn a_token_below_the_fold_cannot_be_judged() {
    let world = World::with(IndexConfig::new(Metric::Euclidean).retention(16));
    let early = world.token();
    world.write(20);
    let head = world.head(&world.session(Root).epochs).head;
    assert!(head.commit.folded > early.sequence);
    let cold = world.store.open();
    world.demand(&cold, early, &Err(Error::VersionFolded));
    // The last that is folded is the one that the first kept commit names.
    let first = world.commit(&world.session(Root), head.commit.folded + 1).head;
    let last = VersionToken { sequence: head.commit.folded, hash: first.commit.previous, ..early };
    world.demand(&cold, last, &Ok(()));
    let other = VersionToken { hash: [1; 32], ..last };
    world.demand(&cold, other, &Err(Error::Forked));
}

#[test]
fn a_token_made_up_is_refused_and_a_token_of_another_index_too() {
    let world = World::new();
    let token = world.token();
    world.write(2);
    for change in 0..32 {
        let mut other = token;
        other.hash[change] ^= 1;
        world.demand(&world.warm, other, &Err(Error::Forked));
    }
    let config = IndexConfig::new(Metric::Euclidean);
    world.warm.create_index("other", &index_key(), config).unwrap();
    let other = world.warm.load_index("other", Root.context()).unwrap();
    let foreign = other.describe().unwrap().version;
    world.demand(&world.warm, foreign, &Err(Error::Forked));
    let names = world.warm.list_indexes(&Root.context().at_least(token));
    assert_eq!(names.unwrap_err().code(), "invalid_argument");
    // Who has no right learns nothing of it.
    let stranger = KeyContext::user(UserId([9; 16]), Reader.user_key()).at_least(foreign);
    let refused = world.warm.load_index(NAME, stranger).map(drop);
    assert_eq!(refused, Err(Error::WrongKey));
    let reader = Reader.context().at_least(foreign);
    let denied = world.warm.open_index(NAME).unwrap().with_key(&reader).delete(&["a"]).map(drop);
    assert_eq!(denied, Err(Error::PermissionDenied { needs: Needs::Write }));
}
