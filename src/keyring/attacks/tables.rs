//! Grant tables and names: rolled back, changed, or pointed elsewhere.

use super::*;
use crate::vector::Precision;

type Change = fn(&mut Table);

#[test]
fn an_older_table_than_this_process_has_seen_is_stale() {
    let world = World::new();
    let before = world.store.copy();
    world.as_root(|root| root.revoke(Writer.id()).unwrap());
    let after = world.store.copy();
    world.store.restore(&before);
    for who in EVERYONE {
        world.gets(&world.warm, who, &Error::Stale);
    }
    // A process that has seen nothing newer cannot know.
    world.works(&world.store.open(), Writer);
    // Refusing is not remembered: the newer state works as before.
    world.store.restore(&after);
    for who in [Root, Reader, Other] {
        world.works(&world.warm, who);
    }
    world.gets(&world.warm, Writer, &Error::WrongKey);
}

/// A call whose snapshot is from before a grant by another thread answers from before the grant.
#[test]
fn a_call_that_began_before_a_grant_is_not_stale() {
    let world = World::new();
    let trust = Trust::default();
    let read = |view: &View<'_>| {
        ReadKey::open(view, &trust, world.index, NAME, Some(&Reader.context()), None)
            .map(|key| key.table.number)
    };
    let early = View::take(&world.store, &trust);
    let number = read(&early).unwrap();
    world.as_root(|root| root.revoke(Other.id()).unwrap());
    assert_eq!(read(&View::take(&world.store, &trust)), Ok(number + 1));
    assert_eq!(read(&early), Ok(number), "it was the state when the call began");
    assert_eq!(read(&View::take(&world.store, &trust)), Ok(number + 1));
}

/// The same with threads: no reader ever fails while the root grants and revokes.
#[test]
fn readers_do_not_fail_while_rights_change() {
    let world = World::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    let stopped = || done.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let index = world.warm.load_index(NAME, Reader.context()).unwrap();
                    let mut failures = Vec::new();
                    while !stopped() {
                        failures.extend(index.count().err());
                    }
                    failures
                })
            })
            .collect();
        let key = UserKey::from_bytes(&[99; 32]).unwrap();
        world.as_root(|root| {
            for _ in 0..300 {
                root.grant(UserId([99; 16]), &key, Permissions::READ).unwrap();
                root.revoke(UserId([99; 16])).unwrap();
            }
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), vec![]);
        }
    });
}

#[test]
fn a_table_changed_by_anyone_but_the_root_is_refused() {
    let world = World::new();
    let writer = world.session(Writer);
    let signature = |number| world.signature_of(&writer, number);
    world.put_table(&writer.table, &writer, &signature(writer.table.number));
    world.everyone_works();
    let current = world.session(Writer).table;
    let honest = signature(current.number);
    let copy = world.store.copy();

    let changes: [Change; 9] = [
        |t| t.config.metric = Metric::Cosine,
        |t| t.config.precision = Precision::F16,
        |t| t.config.dimension = Some(3),
        |t| t.name = "other".into(),
        |t| t.config.retention += 1,
        |t| t.config.require_if_match = true,
        |t| t.epochs.push(9),
        |t| t.principals.retain(|p| p.user != Some(Other.id())),
        |t| {
            let own = t.principals.iter_mut().find(|p| p.user == Some(Reader.id())).unwrap();
            (own.permissions, own.writer) = (Permissions::READ_WRITE, Some([9; 32]));
        },
    ];
    let own = KeyPair::random().unwrap();
    let writer_key = writer.writer.as_ref().unwrap();
    for change in changes {
        let mut table = current.clone();
        change(&mut table);
        let hash = table.hash();
        for signature in [
            honest,
            own.sign(Signed::Table, &hash).unwrap(),
            // A writer's signature, also of the kind she may make.
            writer_key.sign(Signed::Table, &hash).unwrap(),
            writer_key.sign(Signed::Commit, &hash).unwrap(),
        ] {
            world.put_table(&table, &writer, &signature);
            world.everyone_gets(&TABLE);
        }
        // Named by a commit that a current writer signs, it is no better.
        let mut next = world.next(&writer);
        next.table_hash = table.hash();
        world.put_table(&table, &writer, &honest);
        world.sign_head(&writer, &next, writer_key);
        world.everyone_gets(&TABLE);
        world.store.restore(&copy);
    }
}

/// A signature counts for one hash, and its record for one table.
#[test]
fn a_signature_of_another_table_or_none_is_refused() {
    let world = World::new();
    let reader = world.session(Reader);
    let (current, secret) = (reader.table.number, reader.current_secret().unwrap());
    let older = world.signature_of(&reader, current - 1);
    let honest = world.signature_of(&reader, current);
    let place = key::table_signature(world.index, current);
    let copy = world.store.copy();
    let put = |hash: [u8; 32], signature: [u8; SIGNATURE]| {
        let salt = crate::crypto::random().unwrap();
        let signed = TableSignature { hash, signature };
        let (place, value) = signed.seal(world.index, current, reader.table.epoch(), secret, &salt);
        world.store.put(Family::Catalog, &place, &value);
    };
    let refused = || {
        let fresh = world.store.open();
        for who in EVERYONE {
            world.gets(&fresh, who, &TABLE);
        }
    };
    // The control: as it was, sealed again.
    put(reader.table.hash(), honest);
    let fresh = world.store.open();
    for who in EVERYONE {
        fresh.load_index(NAME, who.context()).unwrap();
    }
    let snapshot = world.store.snapshot();
    let before = table::read(&*snapshot, &reader.epochs, world.index, current - 1).unwrap();
    for (hash, signature) in
        [(reader.table.hash(), older), (before.hash, older), (before.hash, honest)]
    {
        put(hash, signature);
        refused();
    }
    world.store.delete(Family::Catalog, &place);
    refused();
    world.store.restore(&copy);
    world.everyone_works();
}

/// A writer may not bring back a table that the root once signed.
#[test]
fn a_current_writer_cannot_go_back_to_an_older_table() {
    let world = World::new();
    let old = world.session(Writer).table;
    world.as_root(|root| root.revoke(Reader.id()).unwrap());
    let writer = world.session(Writer);
    let mut next = world.next(&writer);
    (next.table, next.table_hash) = (old.number, old.hash());
    world.sign_head(&writer, &next, writer.writer.as_ref().unwrap());
    for db in world.databases() {
        for who in [Root, Writer, Other] {
            world.gets(&db, who, &COMMIT);
        }
        // The reader's wrap is gone whatever the head says.
        world.gets(&db, Reader, &Error::WrongKey);
    }
}

/// One key may open several indexes, so the name must be bound to the index.
#[test]
fn a_name_pointed_at_another_index_is_refused() {
    let world = World::new();
    let config = IndexConfig::new(Metric::Euclidean);
    let public = world.warm.create_index("public", &index_key(), config).unwrap();
    let record = |name: &str| {
        let salt = world.store.get(Family::Catalog, &key::database()).unwrap();
        let salt = salt[8..].try_into().unwrap();
        key::name(&crate::crypto::kdf::name_place(&salt, name))
    };
    let own = world.store.get(Family::Catalog, &record(NAME)).unwrap();
    let target = world.store.get(Family::Catalog, &record("public")).unwrap();
    let root = Root.context();
    assert_eq!(world.warm.list_indexes(&root), Ok(vec![NAME.to_owned(), "public".to_owned()]));
    world.store.put(Family::Catalog, &record(NAME), &target);
    for db in world.databases() {
        db.load_index("public", Root.context()).unwrap().describe().unwrap();
        world.gets(&db, Root, &TABLE);
        assert_eq!(db.list_indexes(&root), Err(TABLE));
        assert_eq!(db.delete_index(NAME, &root), Err(TABLE));
        // The handle that was open before still names the index it was opened as.
        assert!(public.with_key(&root).describe().is_ok());
    }
    world.store.put(Family::Catalog, &record(NAME), &own);
    world.everyone_works();
}
