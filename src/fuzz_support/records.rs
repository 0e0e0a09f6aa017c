//! Item records and payload, wraps and roster records, commits and folds, grant tables.

use std::sync::LazyLock;

use super::{EPOCH, INDEX, Input, SALT, catalog, edited, only_genuine, secrets};
use crate::codec::Format;
use crate::commit::fold::{self, Fold};
use crate::commit::{self, Commit, Head, Operation};
use crate::config::{Attribute, IndexConfig};
use crate::crypto::Secret;
use crate::crypto::aead::{Cipher, WHOLE};
use crate::crypto::kdf::{Locator, Prk, Purpose, Signed};
use crate::crypto::sign::KeyPair;
use crate::crypto::wrap::{self, Header, Right, Secrets};
use crate::error::Fault;
use crate::id::{IndexId, ItemNumber, NodeId, Permissions, Trace, UserId};
use crate::keyring::roster;
use crate::keyring::table::{self, Principal, Table};
use crate::store::Engine;
use crate::store::key::{self, Kind};
use crate::store::record::{Field, ITEM, ItemRecord, PayloadCipher, Shape};
use crate::vector::{Metric, Precision};

const ID: [u8; 16] = [4; 16];
/// Where plaintexts of the fuzzer's are sealed. Never where the genuine value is: a fuzzer that
/// watches comparisons learns what was sealed there, and it would open.
const OTHER: [u8; 16] = [44; 16];
const VERSION: u64 = 9;

pub(super) fn sample_item() -> ItemRecord {
    let cipher = payload_cipher();
    let extent = |field, plain: &[u8]| cipher.seal(field, plain, 4096).expect("it fits").0;
    ItemRecord {
        id: "caf\u{e9}".into(),
        number: ItemNumber(6),
        version: VERSION,
        payload_epoch: EPOCH,
        payload_salt: SALT,
        leaves: vec![NodeId(3), NodeId(4)],
        vector: extent(Field::Vector, &[7; 12]),
        contents: Some(extent(Field::Contents, &[8; 9000])),
        metadata: None,
    }
}

/// The stored value of an item record with this plaintext.
fn sealed_item_at(id: [u8; 16], plain: &[u8]) -> Vec<u8> {
    let secrets = secrets();
    let secret = secrets.get(EPOCH).expect("the current epoch");
    ITEM.seal(secret, &ITEM.place(INDEX, EPOCH, id, VERSION), &SALT, plain)
}

/// The genuine item record.
pub(super) fn sealed_item() -> Vec<u8> {
    sealed_item_at(ID, &sample_item().encode())
}

/// Item records: a changed record is refused, a sealed one comes back, and what decodes has one
/// encoding.
pub fn item(bytes: &[u8]) {
    let (secrets, mut plain) = (secrets(), Vec::new());
    let mut open = |id, stored: &[u8]| ITEM.open_into(&secrets, INDEX, id, stored, &mut plain);
    only_genuine(bytes, &sealed_item(), |stored| open(ID, stored).is_ok());
    assert_eq!(open(OTHER, &sealed_item_at(OTHER, bytes)), Ok(VERSION));
    assert_eq!(plain, bytes);
    let Some(record) = ItemRecord::decode(bytes) else { return };
    assert!(record.encode() == bytes, "an item record has one encoding");
    assert!(record.size() >= record.id.len() as u64);
    for field in Field::ALL {
        let parts = record.extent(field).map_or(0, |extent| extent.parts);
        let keys = record.payload_keys(INDEX, field, &ID).take(9).count();
        assert_eq!(u32::try_from(keys), Ok(parts.min(9)));
    }
}

fn payload_cipher() -> PayloadCipher {
    let secrets = secrets();
    let secret = secrets.get(EPOCH).expect("the current epoch");
    PayloadCipher::new(secret, INDEX, EPOCH, ID, VERSION, &SALT)
}

/// Payload: what is sealed in parts comes back, and does not if a part is changed, missing, there
/// twice or moved, or is of another field.
pub fn payload(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = 18 + usize::from(input.u8());
    let (field, other) = match input.below(3) {
        0 => (Field::Vector, Field::Contents),
        1 => (Field::Contents, Field::Metadata),
        _ => (Field::Metadata, Field::Vector),
    };
    let (change, first, second) = (input.below(5), input.u8(), input.u8());
    let (changes, plain) = (input.piece(), input.rest());
    let cipher = payload_cipher();
    let (extent, sealed) = cipher.seal(field, plain, limit).expect("there is room");
    assert!(sealed.iter().all(|value| value.len() <= limit));
    assert_eq!(PayloadCipher::parts(plain.len(), limit), Some(sealed.len()));
    let open = |field, values: &[Vec<u8>]| {
        let mut out = Vec::new();
        cipher.open_onto(field, &extent, values, &mut out).map(|()| out).ok()
    };
    assert_eq!(open(field, &sealed).as_deref(), Some(plain));
    assert!(open(other, &sealed).is_none());
    if field == Field::Vector {
        let values: Vec<&[u8]> = sealed.iter().map(Vec::as_slice).collect();
        let mut out = vec![1; 3];
        assert!(cipher.open_vector(plain.len(), &values, &mut out).is_ok() && out == plain);
        assert!(cipher.open_vector(plain.len() + 1, &values, &mut out).is_err());
    }
    let (mut values, count) = (sealed.clone(), sealed.len());
    let (first, second) = (usize::from(first) % count, usize::from(second) % count);
    match change {
        0 => values.swap(first, second),
        1 => drop(values.remove(first)),
        2 => values.insert(first, values.get(second).cloned().unwrap_or_default()),
        3 => values.push(bytes.to_vec()),
        _ => {
            if let Some(value) = values.get_mut(first) {
                *value = edited(value, changes);
            }
        }
    }
    assert_eq!(open(field, &values).is_some(), values == sealed);
}

fn header(right: Right, locator: [u8; 16]) -> Header {
    let permissions = Permissions::READ_WRITE;
    Header { index: INDEX, locator: Locator(locator), right, permissions, grant: 7 }
}

/// The genuine wrap, or one with this plaintext, which is in another place.
pub(super) fn sealed_wrap(right: Right, plain: Option<&[u8]>) -> Vec<u8> {
    let prk = Prk::new(&Secret::new([6; 32]));
    let header = header(right, if plain.is_some() { OTHER } else { ID });
    let Some(plain) = plain else {
        let secrets = Secrets {
            epochs: vec![(2, Secret::new([2; 32])), (1, Secret::new([1; 32]))],
            name: Secret::new([3; 32]),
            root_verify: [4; 32],
        };
        let writer = KeyPair::from_seed(Secret::new([5; 32]));
        let writer = (right == Right::Write).then_some(&writer);
        return wrap::seal_salted(&prk, &header, &secrets, writer, &SALT);
    };
    let context = header.bytes();
    let (key, commitment) = prk.wrap_key(&context, &SALT);
    let fields: [&[u8]; 5] = [
        &[wrap::FORMAT, right.byte(), header.permissions.bits()],
        &header.grant.to_be_bytes(),
        &SALT,
        &commitment,
        &Cipher::new(&key).seal(&WHOLE, &context, plain),
    ];
    fields.concat()
}

/// Wraps of both kinds and roster records: a changed one is refused, and a wrap that opens has one
/// encoding, whatever its plaintext was.
pub fn wrap(bytes: &[u8]) {
    let prk = Prk::new(&Secret::new([6; 32]));
    for right in [Right::Read, Right::Write] {
        let open = |id, stored: &[u8]| wrap::open(&prk, INDEX, Locator(id), right, stored);
        only_genuine(bytes, &sealed_wrap(right, None), |stored| open(ID, stored).is_ok());
        let stored = sealed_wrap(right, Some(bytes));
        let Ok(opened) = open(OTHER, &stored) else { continue };
        assert!((1..=4).contains(&opened.secrets.epochs.len()));
        assert_eq!(opened.writer.is_some(), right == Right::Write);
        let writer = opened.writer.as_ref();
        let again = wrap::seal_salted(&prk, &header(right, OTHER), &opened.secrets, writer, &SALT);
        assert!(again == stored, "a wrap has one encoding");
        // The public key may be no point; then there is no signature.
        let _ = writer.and_then(|writer| writer.sign(Signed::Commit, bytes));
    }
    let prk_of_user = Secret::new([9; 32]);
    let entry =
        roster::Entry { user: UserId([3; 16]), locator: Locator([4; 16]), prk: prk_of_user };
    let genuine = roster::seal_salted(&prk, INDEX, &ID, &entry, &SALT);
    only_genuine(bytes, &genuine, |stored| roster::open(&prk, INDEX, &ID, stored).is_ok());
}

const SEQUENCE: u64 = 258;
const COMMIT: Shape = Shape {
    format: Format { what: "commit", version: commit::FORMAT, fault: Fault::Commit },
    kind: Kind::Commit,
    purpose: Purpose::Commit,
};

pub(super) fn sample_commit() -> Commit {
    Commit {
        index: INDEX,
        sequence: SEQUENCE,
        previous: [11; 32],
        table: 5,
        table_hash: [12; 32],
        epoch: EPOCH,
        principal: Some(UserId([3; 16])),
        grant: 5,
        item_count: 3,
        total_bytes: 400,
        next_item: 7,
        dimension: 3,
        set_hash: [13; 32],
        content_tag: None,
        operation: Operation::Delete,
        inserted: 0,
        updated: 0,
        deleted: 2,
        trace: Trace::Id([14; 16]),
        folded: 7,
        fold: [15; 32],
        time: 1_700_000_000_000,
    }
}

pub(super) fn sample_fold() -> Fold {
    Fold {
        index: INDEX,
        through: 7,
        last: [16; 32],
        item_count: 2,
        total_bytes: 300,
        inserted: 9,
        updated: 1,
        deleted: 7,
        first_time: 1_600_000_000_000,
        last_time: 1_650_000_000_000,
        operations: [(Operation::Create, 1), (Operation::Upsert, 2), (Operation::Delete, 4)].into(),
    }
}

/// The stored value of a commit whose body and signature are these bytes.
fn sealed_commit_of(index: IndexId, plain: &[u8]) -> Vec<u8> {
    let secrets = secrets();
    let secret = secrets.get(EPOCH).expect("the current epoch");
    let place = COMMIT.place(index, EPOCH, key::number_id(SEQUENCE), SEQUENCE);
    COMMIT.seal(secret, &place, &SALT, plain)
}

const GENUINE: IndexId = IndexId([99; 16]);

/// The genuine commit; it is of another index than the fuzzer's plaintexts.
pub(super) fn sealed_commit() -> Vec<u8> {
    let commit = Commit { index: GENUINE, ..sample_commit() };
    sealed_commit_of(GENUINE, &[&commit.encode()[..], &[17; 64]].concat())
}

/// Commits and folds: a changed one is refused, what decodes has one encoding, and the rules of the
/// chain can be asked of any two.
pub fn commit(bytes: &[u8]) {
    let secrets = secrets();
    let read = |index, stored: &[u8]| {
        let store = catalog(&[(key::commit(index, SEQUENCE), stored.to_vec())]);
        commit::read(&*store.snapshot(), &secrets, index, SEQUENCE).ok()
    };
    only_genuine(bytes, &sealed_commit(), |stored| read(GENUINE, stored).is_some());
    let body = bytes.split_last_chunk::<64>().map_or(&[][..], |(body, _)| body);
    let decoded = Commit::decode(body);
    let here = |commit: &Commit| (commit.index, commit.sequence) == (INDEX, SEQUENCE);
    let found = read(INDEX, &sealed_commit_of(INDEX, bytes));
    assert_eq!(found.is_some(), decoded.as_ref().is_some_and(here));
    if let Some(found) = found {
        assert!(found.body == body && found.head.hash == Signed::Commit.hash(body));
    }

    let (first, second) = bytes.split_at(bytes.len() / 2);
    let heads = [bytes, body, first, second].map(|body| {
        let commit = Commit::decode(body)?;
        assert!(commit.encode() == body, "a commit has one encoding");
        let head = Head { hash: Signed::Commit.hash(body), commit };
        for operation in [Operation::Upsert, Operation::Grant] {
            if let Ok(next) = head.next(operation, 0) {
                assert!(next.sequence > head.commit.sequence && !next.begins());
                let _ = next.follows(&head);
            }
        }
        Some(head)
    });
    for before in heads.iter().flatten() {
        for after in heads.iter().flatten() {
            assert!(!(after.commit.follows(before) && before.commit.follows(after)));
        }
    }
    if let Some(fold) = Fold::decode(bytes) {
        assert!(fold.encode() == bytes, "a fold has one encoding");
        let commits = heads.iter().flatten().map(|head| &head.commit);
        assert!(!commits.chain([&sample_commit()]).all(|commit| fold.precedes(commit)));
    }
    only_genuine_fold(bytes);
}

fn only_genuine_fold(bytes: &[u8]) {
    let secrets = secrets();
    let secret = secrets.get(EPOCH).expect("the current epoch");
    let fold = sample_fold();
    let names = Commit { folded: fold.through, fold: fold.hash(), ..sample_commit() };
    only_genuine(bytes, &fold.seal(EPOCH, secret, &SALT), |stored| {
        let store = catalog(&[(key::fold(INDEX), stored.to_vec())]);
        fold::read(&*store.snapshot(), &secrets, &names).is_ok()
    });
}

pub(super) fn sample_table() -> Table {
    let principal = |user: Option<u8>, permissions, writer| Principal {
        user: user.map(|user| UserId([user; 16])),
        locator: Locator([3; 16]),
        permissions,
        grant: 2,
        writer,
        first: 4,
        last: u64::MAX,
    };
    let config = IndexConfig::new(Metric::InnerProduct).precision(Precision::F16).dimension(3);
    Table {
        index: INDEX,
        number: 9,
        name: "a name".into(),
        config: config.attribute("a.b", Attribute::Range).attribute("notes", Attribute::Off),
        epochs: vec![EPOCH, 1],
        principals: vec![
            principal(None, Permissions::ROOT, Some([7; 32])),
            principal(Some(8), Permissions::READ, None),
            principal(Some(9), Permissions::READ_WRITE, Some([10; 32])),
        ],
    }
}

/// Grant tables: one of which a part is changed is refused, and what decodes has one encoding.
pub fn table(bytes: &[u8]) {
    static ROOT: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_seed(Secret::new([5; 32])));
    static GENUINE: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> =
        LazyLock::new(|| sample_table().seal(&ROOT, &secrets(), 200).expect("there is room"));
    let secrets = secrets();
    let number = sample_table().number;
    let reads = |part: usize, stored: &[u8]| {
        let mut parts = GENUINE.clone();
        if let Some((_, value)) = parts.get_mut(part) {
            *value = stored.to_vec();
        }
        let store = catalog(&parts);
        let snapshot = store.snapshot();
        let found = table::read(&*snapshot, &secrets, INDEX, number);
        let root = *ROOT.public();
        found.and_then(|found| found.verify(&*snapshot, &secrets, &root)).is_ok()
    };
    let part = usize::from(Input::new(bytes).u8()) % GENUINE.len();
    let genuine = GENUINE.get(part).map_or(&[][..], |(_, value)| value);
    only_genuine(bytes, genuine, |stored| reads(part, stored));
    let Some(table) = Table::decode(bytes) else { return };
    assert!(table.encode() == bytes, "a grant table has one encoding");
    assert!(table.hash() == Signed::Table.hash(bytes));
    assert!((1..=4).contains(&table.epochs.len()) && table.epochs.contains(&table.epoch()));
    let _ = (table.principal(None), table.config.check());
}
