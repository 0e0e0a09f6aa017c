//! Forged heads: commits by those who may not make them, and by those who no longer may.

use super::*;
use crate::codec::Format;
use crate::crypto::kdf::Purpose;
use crate::store::key::Kind;
use crate::store::record::Shape;

type Change = fn(&mut Commit);

/// The control for everything below: the same hands on the same bytes, with the right key.
#[test]
fn a_current_writer_past_the_library_is_accepted() {
    let world = World::new();
    for who in [Writer, Other, Root] {
        let session = world.session(who);
        let next = world.next(&session);
        world.sign_head(&session, &next, session.writer.as_ref().unwrap());
        world.everyone_works();
    }
}

#[test]
fn a_reader_signing_with_a_key_of_her_own_is_refused() {
    let world = World::new();
    let reader = world.session(Reader);
    assert!(reader.writer.is_none(), "she was given none");
    let own = KeyPair::random().unwrap();
    for claimed in EVERYONE {
        let honest = world.store.copy();
        let mut next = world.next(&reader);
        next.principal = (claimed != Root).then(|| claimed.id());
        next.grant = reader.table.principal(next.principal).unwrap().grant;
        world.sign_head(&reader, &next, &own);
        world.everyone_gets(&COMMIT);
        world.store.restore(&honest);
        world.everyone_works();
    }
}

#[test]
fn a_signature_copied_from_another_commit_is_refused() {
    let world = World::new();
    let (reader, writer) = (world.session(Reader), world.session(Writer));
    world.sign_head(&writer, &world.next(&writer), writer.writer.as_ref().unwrap());
    let honest = world.head(&reader.epochs);
    let mut next = world.next(&reader);
    (next.principal, next.grant) = (honest.head.commit.principal, honest.head.commit.grant);
    world.put_head(&reader, &next, &honest.signature);
    world.everyone_gets(&COMMIT);
}

/// The head record is a bare number that nobody signs.
#[test]
fn a_head_set_back_or_ahead_is_refused() {
    let world = World::new();
    let sequence = world.session(Root).head.commit.sequence;
    let head = key::head(world.index);
    for wrong in [1, sequence - 1, sequence + 1, u64::MAX, 0] {
        world.store.put(Family::Catalog, &head, &commit::head_value(wrong));
        world.everyone_gets(&COMMIT);
    }
    world.store.put(Family::Catalog, &head, &commit::head_value(sequence));
    world.everyone_works();
}

/// Any key holder can seal a commit again, so its place must be in what is signed.
#[test]
fn a_genuine_commit_at_another_sequence_is_refused() {
    let world = World::new();
    let reader = world.session(Reader);
    let secret = reader.current_secret().unwrap();
    let shape = Shape {
        format: Format { what: "commit", version: commit::FORMAT, fault: Fault::Commit },
        kind: Kind::Commit,
        purpose: Purpose::Commit,
    };
    let honest = world.head(&reader.epochs);
    let plain = [&honest.body[..], &honest.signature].concat();
    let put = |sequence, version| {
        let id = key::number_id(sequence);
        let place = shape.place(world.index, reader.table.epoch(), id, version);
        let sealed = shape.seal(secret, &place, &crate::crypto::random().unwrap(), &plain);
        let mut opened = Vec::new();
        shape.open_into(&reader.epochs, world.index, id, &sealed, &mut opened).unwrap();
        assert_eq!(opened, plain, "the forgery opens");
        world.store.put(Family::Catalog, &key::commit(world.index, sequence), &sealed);
        world.store.put(Family::Catalog, &key::head(world.index), &commit::head_value(sequence));
    };
    let sequence = honest.head.commit.sequence;
    let copy = world.store.copy();
    for (moved, version) in [
        (sequence + 1, sequence + 1),
        (sequence + 1, sequence),
        (sequence - 1, sequence - 1),
        (sequence, sequence + 1),
    ] {
        put(moved, version);
        world.everyone_gets(&COMMIT);
        world.store.restore(&copy);
    }
    put(sequence, sequence);
    world.everyone_works();
}

#[test]
fn a_commit_changed_under_its_own_signature_is_refused() {
    let world = World::new();
    let reader = world.session(Reader);
    let honest = world.head(&reader.epochs);
    let changes: [Change; 7] = [
        |c| c.item_count -= 1,
        |c| c.total_bytes += 1,
        |c| c.next_item -= 1,
        |c| c.dimension = 3,
        |c| c.set_hash[0] ^= 1,
        |c| c.principal = Some(Reader.id()),
        |c| c.time += 1,
    ];
    world.put_head(&reader, &honest.head.commit, &honest.signature);
    world.warm.load_index(NAME, Root.context()).unwrap().describe().unwrap();
    for change in changes {
        let mut commit = honest.head.commit.clone();
        change(&mut commit);
        world.put_head(&reader, &commit, &honest.signature);
        world.everyone_gets(&COMMIT);
    }
}

#[test]
fn a_writer_claiming_to_be_another_is_refused() {
    let world = World::new();
    let writer = world.session(Writer);
    let signer = writer.writer.as_ref().unwrap();
    let grant_of = |who: Who| {
        let user = (who != Root).then(|| who.id());
        (user, writer.table.principal(user).unwrap().grant)
    };
    let own = grant_of(Writer);
    let claims = [
        grant_of(Other),
        grant_of(Root),
        grant_of(Reader),
        (own.0, grant_of(Other).1),
        (grant_of(Other).0, own.1),
        (None, own.1),
        (Some(UserId([42; 16])), own.1),
    ];
    let honest = world.store.copy();
    for claim in claims {
        let mut next = world.next(&writer);
        (next.principal, next.grant) = claim;
        world.sign_head(&writer, &next, signer);
        world.everyone_gets(&COMMIT);
        world.store.restore(&honest);
    }
    let mut next = world.next(&writer);
    (next.principal, next.grant) = own;
    world.sign_head(&writer, &next, signer);
    world.everyone_works();
}

#[test]
fn a_commit_that_does_not_follow_is_refused() {
    let world = World::new();
    let writer = world.session(Writer);
    let changes: [Change; 5] = [
        |c| c.previous[31] ^= 1,
        |c| c.sequence += 1,
        |c| c.table_hash[0] ^= 1,
        |c| (c.sequence, c.previous) = (2, [0; 32]),
        |c| (c.sequence, c.previous) = (1, [0; 32]),
    ];
    let honest = world.store.copy();
    for change in changes {
        let mut next = world.next(&writer);
        change(&mut next);
        world.sign_head(&writer, &next, writer.writer.as_ref().unwrap());
        world.cut_after(next.sequence);
        world.everyone_gets(&COMMIT);
        world.store.restore(&honest);
    }
}

/// Takes the rights of `Writer` with `by`, then lets her sign what she likes with the key she kept.
fn after_losing_the_right(by: impl Fn(&Index<'_>)) {
    let world = World::new();
    let old = world.session(Writer);
    let signer = old.writer.as_ref().unwrap();
    let before = world.head(&old.epochs).head;
    world.sign_head(&old, &world.next(&old), signer);
    world.everyone_works();
    world.as_root(by);
    // What root did last replaced the table that lists her key.
    let current = world.head(&old.epochs).head;
    assert!(current.commit.table > before.commit.table);
    let honest = world.store.copy();
    let refused = |commit: &Commit| {
        world.sign_head(&old, commit, signer);
        world.cut_after(commit.sequence);
        for db in world.databases() {
            for who in [Root, Reader, Other] {
                world.gets(&db, who, &COMMIT);
            }
        }
        world.store.restore(&honest);
    };

    // On the current head, under the new table, which does not list her key,
    let next = world.next(&old);
    refused(&next);
    // and under the old one, which does.
    let old_table = (old.table.number, old.table.hash());
    refused(&Commit { table: old_table.0, table_hash: old_table.1, ..next.clone() });
    // Under the new table with the old one's hash, and the other way round.
    refused(&Commit { table_hash: old_table.1, ..next.clone() });
    refused(&Commit { table: old_table.0, ..next.clone() });
    // In place of the commit that took the right away, on the last one before it.
    let last =
        commit::read(&*world.store.snapshot(), &old.epochs, world.index, before.commit.sequence);
    let mut fork = last.unwrap().head.next(Operation::Upsert, 1).unwrap();
    (fork.principal, fork.grant) = (old.user, old.grant);
    (fork.table, fork.table_hash) = old_table;
    refused(&fork);

    for db in world.databases() {
        world.works(&db, Other);
        world.works(&db, Root);
    }
    let honest = world.store.copy();

    // With the newer tables removed, the chain still tells on the current head, and before it the
    // commits that come after. With those removed too only memory helps: a process that has seen
    // the newer tables knows.
    let next = world.next(&old);
    for number in old_table.0 + 1..=world.head(&old.epochs).head.commit.table {
        for (key, _) in world.store.under(Family::Catalog, &key::table(world.index, number, 0)) {
            world.store.delete(Family::Catalog, &key);
        }
    }
    let cut = world.store.copy();
    world.sign_head(&old, &Commit { table: old_table.0, table_hash: old_table.1, ..next }, signer);
    for db in world.databases() {
        for who in [Root, Reader, Other] {
            world.gets(&db, who, &COMMIT);
        }
    }
    world.store.restore(&cut);
    world.sign_head(&old, &fork, signer);
    for db in world.databases() {
        for who in [Root, Reader, Other] {
            world.gets(&db, who, &COMMIT);
        }
    }
    world.cut_after(fork.sequence);
    for who in [Root, Reader, Other] {
        world.gets(&world.warm, who, &Error::Stale);
    }
    world.store.restore(&honest);
    world.works(&world.warm, Other);
}

#[test]
fn a_revoked_writer_signs_in_vain() {
    after_losing_the_right(|root| assert!(*root.revoke(Writer.id()).unwrap()));
}

#[test]
fn a_writer_downgraded_to_reading_signs_in_vain() {
    after_losing_the_right(|root| {
        root.grant(Writer.id(), &Writer.user_key(), Permissions::READ).unwrap();
    });
}

#[test]
fn the_writer_key_before_a_new_grant_signs_in_vain() {
    after_losing_the_right(|root| {
        root.grant(Writer.id(), &Writer.user_key(), Permissions::READ_WRITE).unwrap();
    });
}
