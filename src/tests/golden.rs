//! Golden vectors: every derivation and every kind of stored record, on fixed inputs, byte by byte.
//!
//! `tests/vectors/golden.txt` holds the inputs and the results. What this test computes must equal
//! the file, to the last line; a difference means that the stored format changed, and databases
//! in the field could not be read. `tests/vectors/check.py` derives and opens the same lines from
//! the written format, with none of this code.
//!
//! After an intended change of the format (with a new format version):
//! `SEALVEC_BLESS=1 cargo test --release --lib golden`, and read the diff.

mod attributes;
mod nodes;

use std::fmt::Write as _;
use std::path::Path;

use crate::commit::fold::Fold;
use crate::commit::{self, Commit, Operation};
use crate::config::{Attribute, IndexConfig};
use crate::crypto::kdf::{self, Names, Place, Prk, Purpose, ReadSecret, Signed};
use crate::crypto::sethash::{Element, SetHash};
use crate::crypto::sign::KeyPair;
use crate::crypto::wrap::{self, Header, Right, Secrets};
use crate::crypto::{IndexKey, Secret, UserKey};
use crate::database;
use crate::id::{Hex, IndexId, ItemNumber, NodeId, Permissions, Trace, UserId};
use crate::keyring::roster;
use crate::keyring::table::signature::TableSignature;
use crate::keyring::table::{Principal, Table};
use crate::store::key::{self, Kind};
use crate::store::owed::{Debt, Made, Owed, Parts};
use crate::store::record::{Epochs, Field, ITEM, ItemRecord, PayloadCipher};
use crate::vector::{self, Metric, Precision};

/// `N` bytes that count up from `first`, so that a swapped or missing byte shows.
fn ramp<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first.wrapping_add(u8::try_from(i).unwrap()))
}

const EPOCH: u32 = 2;
const ITEM_ID: &str = "caf\u{e9}";
const INDEX_NAME: &str = "golden index";
const VECTOR: [f32; 3] = [0.5, -1.25, 3.0];
const CONTENTS: &[u8] = b"contents of some length, sealed in parts of at most forty stored bytes";
const METADATA: &[u8] = br#"{"lang":"en"}"#;

/// The inputs that more than one line uses.
struct Inputs {
    index: IndexId,
    index_key: IndexKey,
    user: UserId,
    user_key: UserKey,
    secrets: Secrets,
    read: ReadSecret,
    writer: KeyPair,
    root: Prk,
    user_prk: Secret,
    root_signer: KeyPair,
}

impl Inputs {
    fn new() -> Self {
        let index = IndexId(ramp(0x10));
        let index_key = IndexKey::from_bytes(&ramp::<32>(0x20)).unwrap();
        let (user, user_key) =
            (UserId(ramp(0xa0)), UserKey::from_bytes(&ramp::<32>(0x40)).unwrap());
        let root = Prk::new(&kdf::root_prk(index, &index_key));
        let root_signer = KeyPair::from_seed(root.root_sign_seed());
        let epochs = vec![(EPOCH, Secret::new(ramp(0x60))), (1, Secret::new(ramp(0x80)))];
        Self {
            index,
            user,
            user_prk: kdf::user_prk(index, user, &user_key),
            index_key,
            user_key,
            read: ReadSecret::new(&Secret::new(ramp(0x60))),
            secrets: Secrets {
                epochs,
                name: Secret::new(ramp(0xc0)),
                root_verify: *root_signer.public(),
            },
            writer: KeyPair::from_seed(Secret::new(ramp(0xe0))),
            root,
            root_signer,
        }
    }

    fn epochs(&self) -> Epochs {
        let epochs = self.secrets.epochs.iter();
        Epochs::new(epochs.map(|(epoch, secret)| (*epoch, ReadSecret::new(secret))).collect())
    }
}

/// The file under construction.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn section(&mut self, text: &str) {
        let text = text.lines().map(|line| format!("# {}\n", line.trim()));
        self.0 += "\n";
        self.0.extend(text);
    }

    fn put(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        writeln!(self.0, "{name} = {}", Hex(bytes.as_ref())).unwrap();
    }
}

#[test]
fn golden_vectors_hold() {
    let inputs = Inputs::new();
    let mut lines = Lines::default();
    lines.0 += "# Golden vectors of the stored formats; see src/tests/golden.rs and check.py.\n";
    put_inputs(&mut lines, &inputs);
    put_derivations(&mut lines, &inputs);
    put_wraps(&mut lines, &inputs);
    let table_hash = put_table(&mut lines, &inputs);
    put_commit(&mut lines, &inputs, table_hash);
    put_fold(&mut lines, &inputs);
    let item = put_item(&mut lines, &inputs);
    put_set_hash(&mut lines, &inputs, &item);
    put_plain_records(&mut lines, &inputs);
    nodes::put(&mut lines, &inputs);
    attributes::put(&mut lines, &inputs);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/golden.txt");
    if std::env::var_os("SEALVEC_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, lines.0).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap();
    println!("golden vectors: {} lines", lines.0.lines().count());
    let (mut expected, mut found) = (file.lines(), lines.0.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => break,
            (expected, found) => assert_eq!(found, expected, "computed, and in golden.txt"),
        }
    }
    assert_eq!(file, lines.0);
}

fn put_inputs(lines: &mut Lines, inputs: &Inputs) {
    lines.section(
        "Inputs. Most are bytes that count up. Texts are UTF-8.\n\
         The epochs of the index are 2 (current) and 1.",
    );
    lines.put("input.index_id", inputs.index.0);
    lines.put("input.index_key", inputs.index_key.expose());
    lines.put("input.user_id", inputs.user.0);
    lines.put("input.user_key", inputs.user_key.expose());
    lines.put("input.read_secret.2", inputs.secrets.epochs[0].1.expose());
    lines.put("input.read_secret.1", inputs.secrets.epochs[1].1.expose());
    lines.put("input.name_secret", inputs.secrets.name.expose());
    lines.put("input.writer_seed", ramp::<32>(0xe0));
    lines.put("input.db_salt", ramp::<32>(0x05));
    lines.put("input.salt", ramp::<24>(0xd0));
    lines.put("input.item_id", ITEM_ID);
    lines.put("input.index_name", INDEX_NAME);
    lines.put("input.vector", vector::encode(&VECTOR, Precision::F32));
    lines.put("input.contents", CONTENTS);
    lines.put("input.metadata", METADATA);
}

fn put_derivations(lines: &mut Lines, inputs: &Inputs) {
    let Inputs { index, user, root, user_prk, read, .. } = inputs;
    let salt = ramp(0xd0);
    lines.section("Callers: PRK from key, index id and (user) user id; locator from PRK.");
    lines.put("root_prk", kdf::root_prk(*index, &inputs.index_key).expose());
    lines.put("root_locator", root.locator().0);
    lines.put("user_prk", user_prk.expose());
    let user_locator = Prk::new(user_prk).locator();
    lines.put("user_locator", user_locator.0);

    lines.section(
        "The key and commitment of the user's read wrap under input.salt.\n\
         Header: format 1, index id, user locator, right 1, permissions 3, grant 5.",
    );
    let header = wrap_header(inputs, Right::Read);
    let (key, commitment) = Prk::new(user_prk).wrap_key(&header.bytes(), &salt);
    lines.put("wrap_header", header.bytes());
    lines.put("wrap_key", *key);
    lines.put("wrap_commitment", commitment);

    lines.section("The root's signing key, and the user's place and key in the roster.");
    lines.put("root_sign_seed", root.root_sign_seed().expose());
    lines.put("root_sign_public", inputs.root_signer.public());
    let place = root.roster_place(*user);
    lines.put("roster_place", place);
    let (key, commitment) = root.roster_key(&[&[1], &index.0[..], &place].concat(), &salt);
    lines.put("roster_key", *key);
    lines.put("roster_commitment", commitment);

    lines.section(
        "Single-use keys from input.read_secret.2 and input.salt, all for one place: format 1,\n\
         index id, epoch 2, kind 20, id = the pseudonym below, version 258.",
    );
    let pseudonym = Names::new(&inputs.secrets.name).item(ITEM_ID);
    let place = Place {
        format: 1,
        index: *index,
        epoch: EPOCH,
        kind: Kind::Item as u8,
        id: pseudonym,
        version: 258,
    };
    lines.put("place", place.bytes());
    for (name, purpose) in [
        ("record", Purpose::Record),
        ("payload", Purpose::Payload),
        ("commit", Purpose::Commit),
        ("table", Purpose::Table),
    ] {
        lines.put(&format!("single_use.{name}"), *read.single_use(purpose, &place, &salt));
    }
    lines.put("cursor_key", *read.cursor_key(*index, &salt));

    lines.section("Where input.item_id is in the index, and input.index_name in the database.");
    lines.put("pseudonym", pseudonym);
    lines.put("name_place", kdf::name_place(&ramp(0x05), INDEX_NAME));

    lines
        .section("The hashes of the three bytes `abc` as a commit, as a fold and as a table body.");
    lines.put("commit_hash.abc", Signed::Commit.hash(b"abc"));
    lines.put("fold_hash.abc", kdf::fold_hash(b"abc"));
    lines.put("table_hash.abc", Signed::Table.hash(b"abc"));
}

fn wrap_header(inputs: &Inputs, right: Right) -> Header {
    Header {
        index: inputs.index,
        locator: Prk::new(&inputs.user_prk).locator(),
        right,
        permissions: Permissions::READ_WRITE,
        grant: 5,
    }
}

fn put_wraps(lines: &mut Lines, inputs: &Inputs) {
    lines.section(
        "Stored wraps of the user: read under the salt 01..18, write under 02..19 (hex).\n\
         Plaintext: 2 | epoch 2 and its secret | epoch 1 and its secret | name secret | root verify\n\
         key; in the write wrap also writer seed and writer public key.",
    );
    let prk = Prk::new(&inputs.user_prk);
    let header = wrap_header(inputs, Right::Read);
    lines.put("wrap.read", wrap::seal_salted(&prk, &header, &inputs.secrets, None, &ramp(0x01)));
    let header = wrap_header(inputs, Right::Write);
    let writer = Some(&inputs.writer);
    lines.put("wrap.write", wrap::seal_salted(&prk, &header, &inputs.secrets, writer, &ramp(2)));

    lines.section("The user's stored roster record, under the salt 03..1a.");
    let entry = roster::Entry {
        user: inputs.user,
        locator: prk.locator(),
        prk: Secret::new(*inputs.user_prk.expose()),
    };
    let place = inputs.root.roster_place(inputs.user);
    let stored = roster::seal_salted(&inputs.root, inputs.index, &place, &entry, &ramp(0x03));
    lines.put("roster", stored);
}

fn put_table(lines: &mut Lines, inputs: &Inputs) -> [u8; 32] {
    lines.section(
        "A grant table: number 5, input.index_name, dimension 3, euclidean, f32, retention 100,000,\n\
         If-Match required, epochs 2 and 1;\n\
         root (grant 1, the writer key of input.writer_seed, commits 1 and up) and the user\n\
         (read, grant 5, no writer key, commits 9 to 10). Its hash is signed by the root, sealed\n\
         under the salt 0c..23; the table under the salt 04..1b in parts of at most 200 stored bytes.",
    );
    let principal = |user, locator, permissions, grant, writer, first, last| Principal {
        user,
        locator,
        permissions,
        grant,
        writer,
        first,
        last,
    };
    let writer = Some(*inputs.writer.public());
    let user_locator = Prk::new(&inputs.user_prk).locator();
    let table = Table {
        index: inputs.index,
        number: 5,
        name: INDEX_NAME.to_owned(),
        config: IndexConfig::new(Metric::Euclidean)
            .dimension(3)
            .require_if_match(true)
            .attribute("a.b", Attribute::Range)
            .attribute("notes", Attribute::Off),
        epochs: vec![EPOCH, 1],
        principals: vec![
            principal(None, inputs.root.locator(), Permissions::ROOT, 1, writer, 1, u64::MAX),
            principal(Some(inputs.user), user_locator, Permissions::READ, 5, None, 9, 10),
        ],
    };
    let body = table.encode();
    let signed = TableSignature::make(table.hash(), &inputs.root_signer).unwrap();
    lines.put("table.body", &body);
    lines.put("table.hash", table.hash());
    lines.put("table.signature", signed.signature);
    let mut parts = table.seal_raw(&signed, &inputs.read, &[ramp(0x04), ramp(0x0C)], 200);
    let (key, value) = parts.pop().unwrap();
    lines.put("table.signature.key", key);
    lines.put("table.signature.sealed", value);
    assert!(parts.len() > 1);
    for (part, (key, value)) in parts.iter().enumerate() {
        lines.put(&format!("table.key.{part}"), key);
        lines.put(&format!("table.sealed.{part}"), value);
    }
    table.hash()
}

fn put_commit(lines: &mut Lines, inputs: &Inputs, table_hash: [u8; 32]) {
    lines.section(
        "A commit: sequence 258, made by the user under table 5 and grant 5, operation delete.\n\
         Signed with input.writer_seed, sealed under the salt 05..1c.",
    );
    let commit = Commit {
        index: inputs.index,
        sequence: 258,
        previous: ramp(0x11),
        table: 5,
        table_hash,
        epoch: EPOCH,
        principal: Some(inputs.user),
        grant: 5,
        item_count: 3,
        total_bytes: 400,
        next_item: 7,
        dimension: 3,
        set_hash: ramp(0x22),
        content_tag: None,
        operation: Operation::Delete,
        inserted: 0,
        updated: 0,
        deleted: 2,
        trace: Trace::Id(ramp(0x33)),
        folded: 7,
        fold: ramp(0x44),
        time: 1_700_000_000_000,
    };
    let body = commit.encode();
    let signature = inputs.writer.sign(Signed::Commit, &body).unwrap();
    lines.put("commit.body", &body);
    lines.put("commit.hash", Signed::Commit.hash(&body));
    lines.put("commit.writer_public", inputs.writer.public());
    lines.put("commit.signature", signature);
    lines.put("commit.key", key::commit(inputs.index, 258));
    lines.put("commit.sealed", commit::seal_raw(&commit, &signature, &inputs.read, &ramp(0x05)));
}

fn put_fold(lines: &mut Lines, inputs: &Inputs) {
    lines.section(
        "A fold of seven commits: one create, two upserts, four deletes. Sealed under the salt\n\
         0b..22.",
    );
    let fold = Fold {
        index: inputs.index,
        through: 7,
        last: ramp(0x55),
        item_count: 2,
        total_bytes: 300,
        inserted: 9,
        updated: 1,
        deleted: 7,
        first_time: 1_600_000_000_000,
        last_time: 1_650_000_000_000,
        operations: [(Operation::Create, 1), (Operation::Upsert, 2), (Operation::Delete, 4)].into(),
    };
    lines.put("fold.body", fold.encode());
    lines.put("fold.hash", fold.hash());
    lines.put("fold.key", key::fold(inputs.index));
    lines.put("fold.sealed", fold.seal(EPOCH, &inputs.read, &ramp(0x0b)));
}

/// Returns key and value of the item record, for the set hash.
fn put_item(lines: &mut Lines, inputs: &Inputs) -> (Vec<u8>, Vec<u8>) {
    lines.section(
        "An item: number 6, version 258, leaves 3 and 4. Payload salt 06..1d, values of at most 40\n\
         bytes: vector and metadata in one part each, contents in several. Record salt 07..1e.",
    );
    let index = inputs.index;
    let pseudonym = Names::new(&inputs.secrets.name).item(ITEM_ID);
    let cipher = PayloadCipher::new(&inputs.read, index, EPOCH, pseudonym, 258, &ramp(0x06));
    let mut seal = |name: &str, field: Field, plain: &[u8]| {
        let (extent, values) = cipher.seal(field, plain, 40).unwrap();
        for (part, value) in (0u32..).zip(&values) {
            let key = key::payload(index, field.kind(), &pseudonym, part);
            lines.put(&format!("payload.{name}.key.{part}"), key);
            lines.put(&format!("payload.{name}.{part}"), value);
        }
        lines.put(&format!("payload.{name}.hash"), extent.hash);
        extent
    };
    let record = ItemRecord {
        id: ITEM_ID.to_owned(),
        number: ItemNumber(6),
        version: 258,
        payload_epoch: EPOCH,
        payload_salt: ramp(0x06),
        leaves: vec![NodeId(3), NodeId(4)],
        vector: seal("vector", Field::Vector, &vector::encode(&VECTOR, Precision::F32)),
        contents: Some(seal("contents", Field::Contents, CONTENTS)),
        metadata: Some(seal("metadata", Field::Metadata, METADATA)),
    };
    assert!(record.vector.parts == 1 && record.contents.as_ref().unwrap().parts > 1);
    let plain = record.encode();
    let place = ITEM.place(index, EPOCH, pseudonym, 258);
    let sealed = ITEM.seal(&inputs.read, &place, &ramp(0x07), &plain);
    let mut opened = Vec::new();
    let version = ITEM.open_into(&inputs.epochs(), index, pseudonym, &sealed, &mut opened);
    assert_eq!((version, &opened), (Ok(258), &plain));
    lines.put("item.key", key::item(index, &pseudonym));
    lines.put("item.plain", &plain);
    lines.put("item.sealed", &sealed);
    (key::item(index, &pseudonym), sealed)
}

fn put_set_hash(lines: &mut Lines, inputs: &Inputs, (at, value): &(Vec<u8>, Vec<u8>)) {
    lines.section(
        "The set hash: the digest of the set that holds only the item record above, and the stored\n\
         record and digest of the set of it and of `value one` and `value two` at the pseudonyms\n\
         00..0f and 01..10 of the index.",
    );
    let mut set = SetHash::empty();
    set.add(&Element::new(at, value));
    lines.put("set_hash.element_digest", set.digest());
    set.add(&Element::new(&key::item(inputs.index, &ramp(0)), b"value one"));
    set.add(&Element::new(&key::item(inputs.index, &ramp(1)), b"value two"));
    lines.put("set_hash.digest", set.digest());
    lines.put("set_hash.key", key::set_hash(inputs.index));
    lines.put("set_hash.record", commit::set_value(&set));
}

fn put_plain_records(lines: &mut Lines, inputs: &Inputs) {
    lines.section("Records that are not sealed: a head at sequence 258, the name, the database.");
    lines.put("head.key", key::head(inputs.index));
    lines.put("head.record", commit::head_value(258));
    lines.put("name.key", key::name(&kdf::name_place(&ramp(0x05), INDEX_NAME)));
    lines.put("name.record", crate::store::names::encode_name(inputs.index));
    lines.put("database.key", key::database());
    lines.put("database.record", database::encode_record(&ramp(0x05)));
    lines.section(
        "What is owed a purge: records at once since 1000 by commit 258, payload since 2000 by commit\n\
         259, wraps nothing. Checkpoint 3, made at 3000 in `/copy`.",
    );
    let mut owed = Owed::NOTHING;
    owed.add(Parts::RECORDS, Debt { since: 1000, last: 258, at_once: true });
    owed.add(Parts::PAYLOAD, Debt { since: 2000, last: 259, at_once: false });
    lines.put("purge_owed.key", key::purge_owed(inputs.index));
    lines.put("purge_owed.record", owed.encode());
    let made = Made { time: 3000, path: "/copy".to_owned() };
    lines.put("checkpoint.key", key::checkpoint_made(3));
    lines.put("checkpoint.record", made.encode());
    lines.section("The keys of the user's wraps and roster record.");
    let locator = Prk::new(&inputs.user_prk).locator();
    lines.put("wrap.read.key", key::wrap(inputs.index, locator, Right::Read));
    lines.put("wrap.write.key", key::wrap(inputs.index, locator, Right::Write));
    let place = inputs.root.roster_place(inputs.user);
    lines.put("roster.key", key::roster(inputs.index, &place));
}
