//! The whole store against `verify`: every way to spoil it that fits in a table.
//!
//! One index with everything in it: a tree of several nodes, values in parts, an attribute index,
//! users granted, granted anew and revoked, a fold. Each case changes what is stored, asks a
//! process that has seen nothing for a full check by the root, and undoes the change. All of them
//! must be found; untouched, and after every undoing that is checked, the index is sound.

mod forged;

use super::*;
use crate::crypto::kdf::Salt;
use crate::error::Fault;
use crate::index::Update;
use crate::store::Change;
use crate::store::key::Kind;
use crate::store::record::{Field, ITEM, ItemRecord, PayloadCipher};

/// A record: where, and what.
type Record = (Family, Vec<u8>, Vec<u8>);

impl World {
    /// An index as the essay says.
    fn furnished() -> Self {
        let world = Self::with(IndexConfig::new(Metric::Euclidean).retention(16));
        let db = world.store.open_with_small_nodes();
        let root = db.load_index(NAME, Root.context()).unwrap();
        let items: Vec<Item> = (0..12u8)
            .map(|n| {
                let contents = vec![n; if n == 0 { 9000 } else { 10 }];
                let metadata = serde_json::json!({ "kind": n % 2, "n": n });
                Item::new(format!("item {n}"), [f32::from(n), 1.0])
                    .contents(contents)
                    .metadata(metadata)
            })
            .collect();
        root.upsert(&items).unwrap();
        for _ in 0..20 {
            root.update("a", Update::new().contents("other")).unwrap();
            root.update("a", Update::new().contents("contents of a")).unwrap();
            if root.describe().unwrap().version.sequence.is_multiple_of(16) {
                break;
            }
        }
        root.grant(Other.id(), &Other.user_key(), Permissions::READ).unwrap();
        root.grant(Other.id(), &Other.user_key(), Permissions::READ_WRITE).unwrap();
        assert!(world.session(Root).head.commit.folded > 0, "something is folded");
        world
    }

    /// Every record of the index, and its name.
    fn records(&self) -> Vec<Record> {
        let mut found = Vec::new();
        for family in Family::ALL {
            let records = self.store.under(family, &self.index.0).into_iter();
            found.extend(records.map(|(key, value)| (family, key, value)));
        }
        let names = self.store.under(Family::Catalog, &key::names()).into_iter();
        found.extend(names.map(|(key, value)| (Family::Catalog, key, value)));
        found
    }

    /// What a full check by this caller finds, in a process that has seen nothing; an error of the
    /// call itself is a finding too.
    fn faults(&self, who: Who) -> Vec<Fault> {
        let index = self.store.open().load_index(NAME, who.context());
        match index.and_then(|index| index.verify(|_| ControlFlow::Continue(()))) {
            Ok(report) => {
                assert_eq!(report.is_sound(), report.faults.is_empty());
                assert_eq!(report.findings.is_empty(), report.faults.is_empty());
                report.faults.iter().map(|(fault, _)| *fault).collect()
            }
            Err(Error::Integrity(fault)) => vec![fault],
            Err(Error::UnsupportedFormat { .. } | Error::WrongKey | Error::IndexNotFound) => {
                vec![Fault::Catalog]
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[track_caller]
    fn sound(&self) {
        for who in [Root, Writer] {
            assert_eq!(self.faults(who), [], "{who:?}");
        }
    }
}

/// Counts cases, and shows those that were not found.
struct Cases<'a> {
    world: &'a World,
    count: usize,
    missed: Vec<String>,
}

impl Cases<'_> {
    /// Makes the changes, looks, and puts back what was there.
    fn case(&mut self, what: &str, changes: Vec<Change>) {
        let undo = changes.iter().rev().map(|change| {
            let (Change::Put(family, key, _) | Change::Delete(family, key)) = change else {
                panic!("puts and deletes only")
            };
            match self.world.store.get(*family, key) {
                Some(value) => Change::Put(*family, key.clone(), value),
                None => Change::Delete(*family, key.clone()),
            }
        });
        let undo = undo.collect();
        self.world.store.apply(changes);
        if self.world.faults(Root).is_empty() {
            self.missed.push(what.to_owned());
        }
        self.world.store.apply(undo);
        self.count += 1;
    }

    fn end(self, at_least: usize) {
        self.world.sound();
        println!("cases: {}", self.count);
        assert!(self.count >= at_least, "{} cases", self.count);
        assert!(self.missed.is_empty(), "{} not found: {:#?}", self.missed.len(), self.missed);
    }
}

fn cases(world: &World) -> Cases<'_> {
    world.sound();
    Cases { world, count: 0, missed: Vec::new() }
}

fn name(record: &Record) -> String {
    let (family, key, _) = record;
    format!("{family:?} {:02x?}", key.get(16..).unwrap_or_default())
}

fn put(record: &Record, value: &[u8]) -> Change {
    Change::Put(record.0, record.1.clone(), value.to_vec())
}

#[test]
fn records_swapped_dropped_and_repeated_are_found() {
    let world = World::furnished();
    let records = world.records();
    let kinds: std::collections::BTreeSet<_> =
        records.iter().filter(|record| record.1[..16] == world.index.0).map(|r| r.1[16]).collect();
    // Every kind there is of an index, the fold and all three kinds of attribute blocks or two.
    assert!(kinds.len() >= 13, "{kinds:02x?}");
    let mut cases = cases(&world);
    for (at, one) in records.iter().enumerate() {
        for other in &records[at + 1..] {
            if one.2 != other.2 {
                let swap = vec![put(one, &other.2), put(other, &one.2)];
                cases.case(&format!("swapped {} and {}", name(one), name(other)), swap);
            }
        }
        let gone = vec![Change::Delete(one.0, one.1.clone())];
        cases.case(&format!("dropped {}", name(one)), gone);
        // Under other keys: the last byte changed, one more, one less, another family.
        let last = one.1.len() - 1;
        let mut near = one.1.clone();
        near[last] ^= 0x80;
        for key in [near, [&one.1[..], &[0]].concat(), one.1[..last].to_vec()] {
            if world.store.get(one.0, &key).is_none() && key.starts_with(&world.index.0) {
                let again = vec![Change::Put(one.0, key, one.2.clone())];
                cases.case(&format!("{} once more", name(one)), again);
            }
        }
        for family in Family::ALL {
            if family != one.0 && one.1.starts_with(&world.index.0) {
                let again = vec![Change::Put(family, one.1.clone(), one.2.clone())];
                cases.case(&format!("{} in {family:?} too", name(one)), again);
            }
        }
    }
    cases.end(4_000);
}

#[test]
fn flipped_bits_and_other_lengths_are_found() {
    let world = World::furnished();
    let mut cases = cases(&world);
    for record in world.records() {
        let bits = record.2.len() * 8;
        // The first byte is the format; the others are spread over the record.
        let sample = [0, 7, 8, bits / 7, bits / 3, bits / 2, bits - 9, bits - 1];
        for bit in sample.into_iter().filter(|bit| *bit < bits) {
            let mut value = record.2.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            cases.case(&format!("{}, bit {bit}", name(&record)), vec![put(&record, &value)]);
        }
        let whole = &record.2[..];
        for value in [&whole[..whole.len() - 1], &[], &[whole, &[0]].concat()] {
            cases.case(&format!("{} cut or longer", name(&record)), vec![put(&record, value)]);
        }
    }
    cases.end(900);
}

#[test]
fn older_records_and_families_put_back_are_found() {
    let world = World::furnished();
    let (before, backup) = (world.records(), world.store.copy());
    let db = world.store.open_with_small_nodes();
    let root = db.load_index(NAME, Root.context()).unwrap();
    root.grant(Other.id(), &UserKey::from_bytes(&[77; 32]).unwrap(), Permissions::READ).unwrap();
    for n in 0..12u8 {
        let metadata = serde_json::json!({ "kind": n % 3, "n": n + 1 });
        let item = Item::new(format!("item {n}"), [f32::from(n), 2.0]).contents("new");
        root.upsert(&[item.metadata(metadata)]).unwrap();
    }
    root.delete(&["item 0", "item 1"]).unwrap();
    root.upsert(&[Item::new("new", [3.0, 3.0])]).unwrap();
    root.revoke(Reader.id()).unwrap();
    root.grant(Reader.id(), &Reader.user_key(), Permissions::READ_WRITE).unwrap();
    root.grant(Reader.id(), &UserKey::from_bytes(&[78; 32]).unwrap(), Permissions::READ).unwrap();
    root.grant(Reader.id(), &UserKey::from_bytes(&[79; 32]).unwrap(), Permissions::READ).unwrap();
    let mut cases = cases(&world);
    let mut older = 0;
    for record in &before {
        let now = world.store.get(record.0, &record.1);
        if now.as_ref() != Some(&record.2) {
            older += 1;
            cases.case(&format!("older {}", name(record)), vec![put(record, &record.2)]);
        }
    }
    assert!(older > 60, "{older}");
    // All of some families, but for all of all.
    let now = world.store.copy();
    for chosen in 1..31u32 {
        let some = || {
            let families = backup.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            families.map(|(_, family)| family.clone()).collect::<Vec<_>>()
        };
        world.store.restore(&some());
        cases.count += 1;
        if world.faults(Root).is_empty() {
            cases.missed.push(format!("families {chosen:05b}"));
        }
        world.store.restore(&now);
    }
    cases.end(90);
}

/// What a reader can seal: everything but signatures. Each forgery opens.
#[test]
fn what_a_reader_seals_is_found() {
    let world = World::furnished();
    let reader = world.session(Reader);
    let secret = reader.current_secret().unwrap();
    let epoch = reader.table.epoch();
    let salt = || -> Salt { crate::crypto::random().unwrap() };
    let mut cases = cases(&world);
    let mut plain = Vec::new();
    for (place, stored) in world.store.under(Family::Items, &key::items(world.index)) {
        let pseudonym = key::pseudonym_of(&place).unwrap();
        let version =
            ITEM.open_into(&reader.epochs, world.index, pseudonym, &stored, &mut plain).unwrap();
        let honest = ItemRecord::decode(&plain).unwrap();
        let sealed = |record: &ItemRecord| {
            let sealed = ITEM.place(world.index, epoch, pseudonym, version);
            let value = ITEM.seal(secret, &sealed, &salt(), &record.encode());
            Change::Put(Family::Items, place.clone(), value)
        };
        cases.case("the same record", vec![sealed(&honest)]);
        let forgeries: [fn(&mut ItemRecord); 6] = [
            |record| record.number.0 += 1,
            |record| record.version -= 1,
            |record| record.id.push('x'),
            |record| record.leaves.clear(),
            |record| record.contents = None,
            |record| record.vector.hash[0] ^= 1,
        ];
        for forge in forgeries {
            let mut record = honest.clone();
            forge(&mut record);
            if record != honest {
                cases.case("a changed record", vec![sealed(&record)]);
            }
        }
        // Other contents and vector, with a record that goes with them.
        let cipher = PayloadCipher::new(
            secret,
            world.index,
            epoch,
            pseudonym,
            honest.version,
            &honest.payload_salt,
        );
        let vector: Vec<u8> = [7.0f32, 8.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        for (field, plain) in [(Field::Vector, &vector[..]), (Field::Contents, b"forged")] {
            let (extent, values) = cipher.seal(field, plain, 4096).unwrap();
            let key = key::payload(world.index, field.kind(), &pseudonym, 0);
            let value = Change::Put(Family::Payload, key, values[0].clone());
            let mut record = honest.clone();
            match field {
                Field::Vector => record.vector = extent,
                _ => record.contents = Some(extent),
            }
            cases.case("payload and record", vec![value, sealed(&record)]);
            let (_, values) = cipher.seal(field, plain, 4096).unwrap();
            let key = key::payload(world.index, field.kind(), &pseudonym, 0);
            cases.case("payload", vec![Change::Put(Family::Payload, key, values[0].clone())]);
        }
        // An item that is gone with all that is its own.
        let mut gone = vec![Change::Delete(Family::Items, place.clone())];
        for field in Field::ALL {
            let prefix = key::payloads(world.index, field.kind(), &pseudonym);
            let values = world.store.under(Family::Payload, &prefix).into_iter();
            gone.extend(values.map(|(key, _)| Change::Delete(Family::Payload, key)));
        }
        cases.case("an item deleted from the files", gone.clone());
        // And a set-hash state that agrees with it.
        let before = world.store.copy();
        world.store.apply(gone.clone());
        let set = commit::set_value(&world.set_hash());
        world.store.restore(&before);
        gone.push(Change::Put(Family::Catalog, key::set_hash(world.index), set));
        cases.case("with a set-hash state", gone);
    }
    forged::nodes(&world, &reader, &mut cases);
    for (place, stored) in world.store.under(Family::Attributes, &world.index.0) {
        let forged = crate::attributes::reseal(&reader, &place, &stored).unwrap();
        cases.case("a block sealed again", vec![Change::Put(Family::Attributes, place, forged)]);
    }
    forged::commits_and_tables(&world, &reader, &mut cases);
    forged::wraps(&world, &reader, &mut cases);
    cases.end(250);
}

#[test]
fn who_is_not_the_root_finds_all_but_what_only_the_root_can_open() {
    let world = World::furnished();
    let report = |who: Who| {
        let index = world.store.open().load_index(NAME, who.context()).unwrap();
        index.verify(|_| ControlFlow::Continue(())).unwrap().value
    };
    let (root, reader) = (report(Root), report(Reader));
    assert!(root.by_root && !reader.by_root);
    assert!(root.is_sound());
    assert_eq!(crate::verify::VerifyReport { by_root: true, ..reader }, root);
    assert_eq!((root.wraps, root.roster_records, root.items), (7, 3, 15));
    for record in world.records() {
        let mut value = record.2.clone();
        *value.last_mut().unwrap() ^= 1;
        world.store.apply(vec![put(&record, &value)]);
        let found = !world.faults(Reader).is_empty();
        world.store.apply(vec![put(&record, &record.2)]);
        let kind = record.1[16];
        let own = key::wrap(world.index, world.session(Reader).prk.locator(), Right::Read);
        let sealed_for_others = kind == Kind::Roster as u8 || kind == Kind::Wrap as u8;
        assert_eq!(found, !sealed_for_others || record.1 == own, "{}", name(&record));
        // Missing, they are missed by everybody.
        world.store.apply(vec![Change::Delete(record.0, record.1.clone())]);
        assert!(!world.faults(Reader).is_empty(), "{}", name(&record));
        world.store.apply(vec![put(&record, &record.2)]);
    }
}

#[test]
fn faults_are_counted_by_class_and_the_check_goes_on() {
    let world = World::furnished();
    let index = world.store.open().load_index(NAME, Root.context()).unwrap();
    let spoil = |family, prefix: &[u8], count: usize| {
        for (key, mut value) in world.store.under(family, prefix).into_iter().take(count) {
            *value.last_mut().unwrap() ^= 1;
            world.store.put(family, &key, &value);
        }
    };
    spoil(Family::Items, &world.index.0, 2);
    spoil(Family::Payload, &key::payloads_of(world.index, Kind::Metadata), 12);
    spoil(Family::Catalog, &key::commits(world.index), 3);
    world.store.put(Family::Payload, &[&world.index.0[..], b"stray"].concat(), b"stray");
    let report = index.verify(|_| ControlFlow::Continue(())).unwrap().value;
    let count = |fault| report.faults.iter().find(|(f, _)| *f == fault).map_or(0, |(_, n)| *n);
    assert_eq!((count(Fault::ItemRecord) >= 2, count(Fault::Commit)), (true, 3), "{report:?}");
    // Those of the two whose records do not open may be among the twelve.
    assert!((11..=13).contains(&count(Fault::Payload)), "{report:?}");
    assert_eq!(count(Fault::SetHash), 1);
    assert!(report.finished && !report.is_sound());
    assert!(report.findings.len() <= 16);
    let place = report.findings.iter().find(|finding| finding.fault == Fault::Commit);
    let folded = world.session(Root).head.commit.folded;
    assert_eq!(place.unwrap().place, Some(folded + 1));
}

#[test]
fn a_check_that_is_broken_off_says_so() {
    let world = World::furnished();
    let index = world.store.open().load_index(NAME, Reader.context()).unwrap();
    let mut calls = 0;
    let whole = index.verify(|progress| {
        calls += 1;
        assert!(progress.items <= progress.total);
        ControlFlow::Continue(())
    });
    assert!(whole.unwrap().is_sound() && calls > 2);
    for stop in 1..=calls {
        let mut calls = 0;
        let report = index.verify(|_| {
            calls += 1;
            if calls == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let report = report.unwrap();
        assert!(!report.finished && !report.is_sound() && report.faults.is_empty());
    }
}
