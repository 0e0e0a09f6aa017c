//! Wraps put back or self-made, and what a refused caller learns.

use super::*;
use crate::keyring::table::Principal;

const RIGHTS: [Right; 2] = [Right::Read, Right::Write];

fn wraps_of(world: &World, session: &Session) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let keys = RIGHTS.map(|right| key::wrap(world.index, session.prk.locator(), right));
    keys.map(|key| (key.clone(), world.store.get(Family::Catalog, &key))).into()
}

fn put_back(world: &World, wraps: &[(Vec<u8>, Option<Vec<u8>>)]) {
    for (key, value) in wraps {
        if let Some(value) = value {
            world.store.put(Family::Catalog, key, value);
        }
    }
}

fn opens(world: &World, session: &Session, right: Right) -> bool {
    let locator = session.prk.locator();
    let stored = world.store.get(Family::Catalog, &key::wrap(world.index, locator, right));
    stored.is_some_and(|w| wrap::open(&session.prk, world.index, locator, right, &w).is_ok())
}

#[test]
fn wraps_put_back_after_a_revocation_are_the_wrong_key() {
    let world = World::new();
    let old = world.session(Writer);
    let wraps = wraps_of(&world, &old);
    assert_eq!(wraps.len(), 2);
    world.as_root(|root| root.revoke(Writer.id()).unwrap());
    assert!(wraps_of(&world, &old).iter().all(|(_, value)| value.is_none()));
    put_back(&world, &wraps);
    assert!(RIGHTS.iter().all(|right| opens(&world, &old, *right)), "what was put back opens");
    for db in world.databases() {
        world.gets(&db, Writer, &Error::WrongKey);
        world.works(&db, Other);
        world.works(&db, Root);
        assert_eq!(db.list_indexes(&Writer.context()), Ok(vec![]));
    }
}

#[test]
fn a_write_wrap_put_back_after_a_downgrade_does_not_write() {
    let world = World::new();
    let old = world.session(Writer);
    let wraps = wraps_of(&world, &old);
    let read_only = |root: &Index<'_>| {
        root.grant(Writer.id(), &Writer.user_key(), Permissions::READ).unwrap();
    };
    world.as_root(read_only);
    assert!(!opens(&world, &old, Right::Write));
    let read_wrap = wraps_of(&world, &old);
    put_back(&world, &wraps[1..]);
    assert!(opens(&world, &old, Right::Write), "what was put back opens");
    let caller = Writer.context();
    for db in world.databases() {
        let index = db.open_index(NAME).unwrap();
        let index = index.with_key(&caller);
        assert_eq!(index.count().unwrap().value, 3, "reading goes on");
        let before = world.store.copy();
        let item = [Item::new("d", [1.0, 1.0])];
        assert_eq!(index.upsert(&item).err(), Some(Error::WrongKey));
        assert_eq!(index.delete(&["a"]).err(), Some(Error::WrongKey));
        assert!(before == world.store.copy());
    }
    // With both old wraps in place, nothing goes on.
    put_back(&world, &wraps);
    for db in world.databases() {
        world.gets(&db, Writer, &Error::WrongKey);
    }
    put_back(&world, &read_wrap);
    world.store.delete(Family::Catalog, &wraps[1].0);
    let index = world.warm.load_index(NAME, caller).unwrap();
    let denied = Error::PermissionDenied { needs: Needs::Write };
    assert_eq!(index.delete(&["a"]).err(), Some(denied));
}

#[test]
fn an_old_wrap_is_the_wrong_key_after_a_grant_of_the_same_rights() {
    let world = World::new();
    let old = world.session(Writer);
    let wraps = wraps_of(&world, &old);
    world.as_root(|root| {
        root.grant(Writer.id(), &Writer.user_key(), Writer.rights()).unwrap();
    });
    let new = wraps_of(&world, &old);
    put_back(&world, &wraps);
    for db in world.databases() {
        world.gets(&db, Writer, &Error::WrongKey);
    }
    put_back(&world, &new);
    world.everyone_works();
}

/// She knows her own pseudorandom key, so she can seal any wrap to herself.
#[test]
fn a_user_cannot_raise_her_own_rights() {
    let world = World::new();
    let reader = world.session(Reader);
    let locator = reader.prk.locator();
    let own = KeyPair::random().unwrap();
    let seal = |right, permissions, grant| {
        let header = wrap::Header { index: world.index, locator, right, permissions, grant };
        let writer = (right == Right::Write).then_some(&own);
        let sealed = wrap::seal(&reader.prk, &header, &reader.secrets, writer).unwrap();
        world.store.put(Family::Catalog, &key::wrap(world.index, locator, right), &sealed);
        assert!(opens(&world, &reader, right), "the forgery opens");
    };
    seal(Right::Read, Permissions::READ, reader.grant);
    world.everyone_works();
    let honest = world.store.copy();
    let all = [Permissions::WRITE, Permissions::READ_WRITE, Permissions::ROOT];
    let grant_of_root = reader.table.principal(None).unwrap().grant;
    let grants = [reader.grant, reader.grant + 1, grant_of_root, u64::MAX];
    for (permissions, grant) in all.iter().flat_map(|p| grants.map(|grant| (*p, grant))) {
        for right in RIGHTS {
            seal(right, permissions, grant);
        }
        for db in world.databases() {
            world.gets(&db, Reader, &Error::WrongKey);
        }
        world.store.restore(&honest);
    }
    // With her true rights and grant, but in a write wrap and with a writer key of her own.
    seal(Right::Write, Permissions::READ, reader.grant);
    for db in world.databases() {
        world.works(&db, Reader);
    }
}

/// Her key leaked and she was granted under a new one. Who has the old key has all the secrets, and
/// can seal a wrap with the rights and the number of the new grant, but not at the new place.
#[test]
fn a_replaced_user_key_stays_the_wrong_key_with_a_self_made_wrap() {
    let world = World::new();
    let leaked = world.session(Reader);
    let new_key = UserKey::from_bytes(&[66; 32]).unwrap();
    world.as_root(|root| root.grant(Reader.id(), &new_key, Reader.rights()).unwrap());
    let table = world.session(Root).table;
    let grant = table.principal(Some(Reader.id())).unwrap().grant;
    let (locator, permissions) = (leaked.prk.locator(), Reader.rights());
    let index = world.index;
    let header = wrap::Header { index, locator, right: Right::Read, permissions, grant };
    let sealed = wrap::seal(&leaked.prk, &header, &leaked.secrets, None).unwrap();
    world.store.put(Family::Catalog, &key::wrap(index, locator, Right::Read), &sealed);
    assert!(opens(&world, &leaked, Right::Read), "the forgery opens");
    let renewed = KeyContext::user(Reader.id(), new_key);
    for db in world.databases() {
        world.gets(&db, Reader, &Error::WrongKey);
        assert!(db.open_index(NAME).unwrap().with_key(&renewed).count().is_ok());
    }
}

/// She seals herself a wrap that names a root key of her own, and under that key a table, a commit
/// and a head. For her it all verifies. It must not for anybody else, whatever the process has
/// remembered on her behalf.
#[test]
fn what_verifies_under_a_self_made_root_counts_for_nobody_else() {
    for raise_number in [false, true] {
        for rights in [Permissions::READ, Permissions::READ_WRITE] {
            self_made_root(raise_number, rights);
        }
    }
}

fn self_made_root(raise_number: bool, rights: Permissions) {
    let world = World::new();
    let session = world.session(Reader);
    let honest = world.store.copy();
    let (root, writer) = (KeyPair::random().unwrap(), KeyPair::random().unwrap());
    let number = session.table.number + if raise_number { 1000 } else { 0 };
    let locator = session.prk.locator();
    let principal = |user, permissions| Principal {
        user,
        locator,
        permissions,
        grant: 77,
        writer: Some(*writer.public()),
        first: 0,
        last: u64::MAX,
    };
    let principals = vec![principal(None, Permissions::ROOT), principal(Some(Reader.id()), rights)];
    let table = Table { number, principals, ..session.table.clone() };
    // A new table comes by the root, on a commit under the one before; she makes that too.
    let mut before = session.head.commit.clone();
    before.table = number - 1;
    let mut next = world.next(&session);
    next.previous = Signed::Commit.hash(&before.encode());
    (next.operation, next.content_tag) = (Operation::Grant, Some(next.previous));
    (next.principal, next.grant) = (None, 77);
    (next.table, next.table_hash) = (number, table.hash());
    world.put_head(&session, &before, &[0; SIGNATURE]);
    world.put_table(&table, &session, &root.sign(Signed::Table, &table.hash()).unwrap());
    world.sign_head(&session, &next, &writer);
    let epochs = session.secrets.epochs.iter();
    let secrets = wrap::Secrets {
        epochs: epochs.map(|(epoch, secret)| (*epoch, Secret::new(*secret.expose()))).collect(),
        name: Secret::new(*session.secrets.name.expose()),
        root_verify: *root.public(),
    };
    for right in RIGHTS {
        let header =
            wrap::Header { index: world.index, locator, right, permissions: rights, grant: 77 };
        let pair = (right == Right::Write).then_some(&writer);
        let sealed = wrap::seal(&session.prk, &header, &secrets, pair).unwrap();
        world.store.put(Family::Catalog, &key::wrap(world.index, locator, right), &sealed);
    }

    for db in world.databases() {
        let index = db.load_index(NAME, Reader.context()).unwrap();
        assert_eq!(index.describe().unwrap().permissions, rights, "for her it verifies");
        let denied = Error::PermissionDenied { needs: Needs::Write };
        if !rights.write() {
            assert_eq!(index.delete(&["a"]).err(), Some(denied), "a refused call of hers");
        }
        for who in [Root, Writer, Other] {
            world.gets(&db, who, &TABLE);
        }
        // If she may, she commits through the library, which then remembers the head she made.
        if rights.write() {
            index.upsert(&[Item::new("forged", [9.0, 9.0])]).unwrap();
        }
        for who in [Root, Writer, Other] {
            world.gets(&db, who, &TABLE);
        }
    }
    world.store.restore(&honest);
    world.everyone_works();
}

/// Wrong index key, unknown user, revoked user, wrong user key.
#[test]
fn the_four_wrong_keys_are_one_error_and_reach_no_item() {
    let world = World::new();
    world.as_root(|root| root.revoke(Other.id()).unwrap());
    let wrong_user_key = UserKey::from_bytes(&[55; 32]).unwrap();
    let callers = [
        KeyContext::root(IndexKey::from_bytes(&[8; 32]).unwrap()),
        KeyContext::user(UserId([50; 16]), Other.user_key()),
        Other.context(),
        KeyContext::user(Reader.id(), wrong_user_key),
        // Right keys in the wrong role.
        KeyContext::user(Reader.id(), UserKey::from_bytes(&[7; 32]).unwrap()),
        KeyContext::root(IndexKey::from_bytes(Reader.user_key().expose()).unwrap()),
        KeyContext::user(Writer.id(), Reader.user_key()),
    ];
    for db in world.databases() {
        let read = world.store.reads_of_items();
        world.works(&db, Reader);
        assert!(world.store.reads_of_items() > read, "reads of items are counted");
        for caller in &callers {
            let unbound = db.open_index(NAME).unwrap();
            let index = unbound.with_key(caller);
            let read = world.store.reads_of_items();
            let key = UserKey::from_bytes(&[99; 32]).unwrap();
            let refusals = [
                index.describe().map(drop),
                index.count().map(drop),
                index.get(&["a"], Include::ALL).map(drop),
                index.get(&["never there"], Include::ALL).map(drop),
                index.query(&[0.0]).run().map(drop),
                index.list_ids(10, None).map(drop),
                index.for_each(Include::ALL, |_| ControlFlow::Continue(())).map(drop),
                index.upsert(&[Item::new("a", [0.0, 0.0])]).map(drop),
                index.upsert(&[]).map(drop),
                index.delete(&["a"]).map(drop),
                index.delete(&["never there"]).map(drop),
                index.grant(Other.id(), &key, Permissions::READ).map(drop),
                index.revoke(Other.id()).map(drop),
                index.users().map(drop),
                db.delete_index(NAME, caller),
            ];
            for refusal in refusals {
                let refusal = refusal.unwrap_err();
                assert_eq!(refusal, Error::WrongKey);
                assert_eq!(refusal.to_string(), "the key or user does not open this index");
            }
            assert_eq!(db.list_indexes(caller), Ok(vec![]));
            assert_eq!(world.store.reads_of_items(), read);
        }
    }
    // One who may not write gets no further than her rights either.
    let reader = world.warm.load_index(NAME, Reader.context()).unwrap();
    let read = world.store.reads_of_items();
    let denied = Some(Error::PermissionDenied { needs: Needs::Write });
    assert_eq!(reader.delete(&["a"]).err(), denied);
    assert_eq!(reader.delete(&["never there"]).err(), denied);
    assert_eq!(world.store.reads_of_items(), read);
}
