//! The seeds of the library's fuzz targets, and their replay.
//!
//! Seeds are real encodings: what a target's format looks like when nothing is wrong with it. They
//! are made here and kept in `fuzz/seeds`, beside inputs that once failed. After a change of a
//! format: `SEALVEC_BLESS=1 cargo test --release --no-default-features --lib fuzz_support`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::records::{
    sample_commit, sample_fold, sample_item, sample_table, sealed_commit, sealed_item, sealed_wrap,
};
use super::replay::{directory, replay};
use crate::attributes::block::{Bits, Block, Column};
use crate::commit::{self, Commit, Operation};
use crate::crypto::wrap::Right;
use crate::filter::Span;
use crate::id::{ItemNumber, NodeId, Trace};
use crate::store::owed::{Debt, Made, Owed, Parts};
use crate::store::record::ItemRecord;
use crate::tree::append;
use crate::tree::node::{Branch, Copy, Entries, Leaf, Node, Row};
use crate::vector::kernels::codes::Width;
use crate::vector::rabitq::Factors;
use crate::vector::scalar::Rounded;

type Seeds = Vec<(String, Vec<u8>)>;

/// A piece as the targets read it: two bytes of length, then the bytes.
fn piece(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn named(seeds: &[(&str, Vec<u8>)]) -> Seeds {
    seeds.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
}

fn numbered<B: AsRef<[u8]>>(seeds: &[B]) -> Seeds {
    seeds.iter().enumerate().map(|(n, seed)| (format!("{n:02}"), seed.as_ref().to_vec())).collect()
}

/// Bytes that look like nothing.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

fn item() -> Seeds {
    let whole = sample_item();
    let bare = ItemRecord { contents: None, leaves: Vec::new(), ..sample_item() };
    named(&[("plain", whole.encode()), ("plain-bare", bare.encode()), ("sealed", sealed_item())])
}

fn payload() -> Seeds {
    let seed = |field, change, length| {
        let plain = noise(1, length);
        [&[40, field, change, 1, 0][..], &piece(&[0, 0, 20, 1]), &plain].concat()
    };
    numbered(&[seed(0, 0, 100), seed(1, 1, 200), seed(2, 2, 99), seed(0, 3, 5), seed(1, 4, 0)])
}

fn wrap() -> Seeds {
    // The plaintexts of both wraps, with one epoch and with two.
    let secrets = |epochs: u8| {
        let mut plain = vec![epochs];
        for epoch in 0..epochs {
            plain.extend([&[0, 0, 0, epoch + 1][..], &[epoch; 32]].concat());
        }
        [plain, vec![3; 64]].concat()
    };
    named(&[
        ("read", sealed_wrap(Right::Read, None)),
        ("write", sealed_wrap(Right::Write, None)),
        ("plain-read", secrets(1)),
        ("plain-write", [secrets(2), vec![5; 64]].concat()),
    ])
}

fn commit() -> Seeds {
    let commit = sample_commit();
    let first = Commit::first_for_tests(super::INDEX);
    let second = commit::Head { hash: [9; 32], commit: first.clone() };
    let second = second.next(Operation::Grant, 5).unwrap();
    let second = Commit { trace: Trace::Malformed, ..second };
    named(&[
        ("body", commit.encode()),
        ("first-two", [first.encode(), second.encode()].concat()),
        ("signed", [commit.encode(), vec![17; 64]].concat()),
        ("sealed", sealed_commit()),
        ("fold", sample_fold().encode()),
    ])
}

fn table() -> Seeds {
    let table = sample_table();
    let mut bare = sample_table();
    bare.epochs.truncate(1);
    bare.principals.truncate(1);
    bare.config.attributes.fields.clear();
    let mut long = sample_table();
    (long.name, long.epochs) = ("n".repeat(512), vec![4, 3, 2, 1]);
    named(&[("body", table.encode()), ("bare", bare.encode()), ("long", long.encode())])
}

fn leaf(rows: u8, width: Width) -> Leaf {
    let centroid = Rounded::round(&[0.5; 64]);
    let mut leaf = Leaf::empty(NodeId(3), centroid, width);
    for n in 0..rows {
        let copy = if n % 3 == 2 { Copy::Second } else { Copy::First };
        let row = Row {
            pseudonym: [n; 16],
            number: ItemNumber(u64::from(n) + 1),
            version: 7,
            epoch: 1,
            parts: 1,
            copy,
            salt: [n; 24],
        };
        let norm = f32::from(n);
        let factors = Factors { add: norm, rescale: 0.5, error: 0.25, norm };
        let code = vec![n; leaf.code_bytes()];
        leaf.push(row, &code, factors);
    }
    leaf
}

fn node() -> Seeds {
    let mut children = Entries::default();
    for child in 1..4 {
        children.push(NodeId(child), &Rounded::round(&[0.25; 64]), 1.5);
    }
    let branch = Branch {
        parent: NodeId::ROOT,
        level: 1,
        centroid: Rounded::round(&[0.0; 64]),
        span: 2.0,
        tag: [6; 16],
        children,
    };
    let whole = |node: &Node| {
        let (codes, rows) = node.encode().unwrap();
        [piece(&codes), rows].concat()
    };
    let [one, two, four] = [1, 2, 4].map(|bits| Width::from_bits(bits).unwrap());
    let (mut codes, mut rows) = Node::Leaf(leaf(4, two)).encode().unwrap();
    let (more_codes, more_rows) = append::encode(&leaf(2, two)).unwrap();
    for _ in 0..2 {
        codes.extend_from_slice(&more_codes);
        rows.extend_from_slice(&more_rows);
    }
    named(&[
        ("leaf-empty", whole(&Node::Leaf(leaf(0, one)))),
        ("leaf-1-bit", whole(&Node::Leaf(leaf(3, one)))),
        ("leaf-4-bits", whole(&Node::Leaf(leaf(5, four)))),
        ("leaf-appended", [piece(&codes), rows].concat()),
        ("branch", whole(&Node::Branch(branch))),
    ])
}

fn sealed_node() -> Seeds {
    let seed = |deltas: u8, limit: u8, rows: usize, changes: &[u8]| {
        let pieces = [piece(&noise(2, 40)), piece(&noise(3, rows))].concat();
        let appended = [piece(&[7; 5]), piece(&[8; 68])].concat();
        let appended = appended.repeat(usize::from(deltas));
        [&[deltas, limit][..], &pieces, &appended, changes].concat()
    };
    numbered(&[
        seed(0, 255, 600, &[0, 0, 1, 1]),
        seed(3, 255, 136, &[200, 0, 100]),
        seed(2, 255, 0, &[255, 0, 1, 1]),
        seed(0, 20, 544, &[]),
        seed(0, 127, 1200, &[0, 0, 2, 1]),
    ])
}

fn attributes() -> Seeds {
    let posting = |items: u64| {
        let mut bits = Bits::default();
        assert!((0..items).all(|item| bits.insert(item * 3)));
        (0, Block::Posting(bits))
    };
    let mut places = vec![[0; 16]; 64];
    places[0] = [1; 16];
    places[63] = [2; 16];
    let column = |items: usize, two: bool| {
        let mut column = Column::default();
        for item in (0u16..).take(items) {
            let greatest = f64::from(item);
            let least = if two { -0.0 } else { greatest };
            assert!(column.set(item.into(), Some(Span { least, greatest })));
        }
        (2, Block::Column(column))
    };
    let blocks = [
        posting(1),
        posting(16),
        posting(65),
        (1, Block::Directory(places)),
        column(3, true),
        column(9, false),
        column(300, false),
        column(257, true),
    ];
    let seeds = blocks.map(|(kind, block)| [vec![kind], block.encode(7).unwrap()].concat());
    numbered(&seeds)
}

fn owed() -> Seeds {
    let mut owed = Owed::NOTHING;
    owed.add(Parts::RECORDS, Debt { since: 1000, last: 258, at_once: true });
    owed.add(Parts::PAYLOAD, Debt { since: 2000, last: 259, at_once: false });
    named(&[
        ("owed", owed.encode()),
        ("nothing", Owed::NOTHING.encode()),
        ("checkpoint", Made { time: 3000, path: "/caf\u{e9}".to_owned() }.encode()),
        ("head", commit::head_value(258)),
    ])
}

fn filter() -> Seeds {
    let item = json!({
        "a": 1, "b": [1.5, "x", null], "c": {"d": [{"e": true}, {"e": 7}]}, "f": 18e18, "s": "text",
    });
    let filters = [
        json!({}),
        json!({"a": 1, "b": "x"}),
        json!({"a": {"$gte": 0, "$lt": 2.5}, "s": {"$ne": "y"}}),
        json!({"$or": [{"b": {"$in": [1, null, "z"]}}, {"$nor": [{"c.d.e": {"$exists": true}}]}]}),
        json!({"c.d": {"$elemMatch": {"e": {"$gt": 6}}}}),
        json!({"b": {"$elemMatch": {"$gt": 1, "$not": {"$eq": 2}}}, "b.0": {"$lte": 1.5}}),
        json!({"$and": [{"s": {"$regex": "(?i)^T.x"}}, {"s": {"$contains": "ex"}}]}),
        json!({"b": {"$size": 3, "$all": ["x", null]}, "$not": {"f": {"$nin": [18e18, -1]}}}),
        json!({"c": {"d": [{"e": true}, {"e": 7}]}}),
    ];
    let mut seeds = numbered(&filters.map(|filter| format!("{filter}\0{item}")));
    seeds.push(("repeated".into(), br#"{"a": 1, "\u0061": {"$gt": 2}}"#.to_vec()));
    seeds.push(("unknown".into(), br#"{"$and": [{"a": {"$type": "string"}}]}"#.to_vec()));
    seeds
}

fn cursor() -> Seeds {
    let made_up = [&[1, 0, 0, 0, 1][..], &noise(4, 24 + 1 + 16)].concat();
    let text = crate::id::Hex(&made_up).to_string();
    named(&[
        ("made-up", text.clone().into_bytes()),
        ("bytes", made_up),
        ("upper", text.to_uppercase().into_bytes()),
        ("genuine", vec![0]),
        ("changed", vec![0, 0, 70, 1, 0, 71, 1]),
        ("cut", vec![200, 0, 60]),
    ])
}

fn identifiers() -> Seeds {
    numbered(&[
        "a5".repeat(32),
        format!("\"{}\"", "A5".repeat(32)),
        "07".repeat(16),
        "read,write".to_owned(),
        "*".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    ])
}

/// Sequences of calls. The first three bytes are metric, dimension and attribute index.
fn operations() -> Seeds {
    let mut seeds: Seeds = (0..6u8)
        .map(|n| {
            let shape = [n % 3, n % 4, n % 3];
            (format!("noise-{n}"), [&shape[..], &noise(10 + n, 300)].concat())
        })
        .collect();
    // Grow the tree, then take it down by filters, prefixes and ids, and read in between.
    let upsert = |seed: u8| {
        let items = (0..20u8).flat_map(|n| [n * 2 + seed % 2, n ^ seed, n, n * 13]);
        [vec![4, 2, 19], items.collect()].concat()
    };
    let grown = [&[1, 3, 1][..], &upsert(0), &upsert(1)].concat();
    let query = [18, 3, 0, 11, 0x64, 9];
    let ending: [(&str, &[u8]); 4] = [
        ("grown-filters", &[9, 5, 0, 2, 1, 18, 2, 1, 3, 0x64, 9, 9, 3, 0, 4, 1, 16, 3, 0, 3]),
        ("grown-prefixes", &[11, 0, 7, 11, 1, 7, 12, 11, 2, 7, 11, 4, 7, 15, 2]),
        ("grown-ids", &[7, 1, 9, 0, 2, 4, 6, 8, 10, 12, 14, 16, 13, 7, 1, 4, 1, 3, 5, 7, 12, 19]),
        (
            "grown-updates",
            &[5, 0, 2, 3, 0x42, 5, 1, 2, 5, 0, 14, 3, 0, 1, 2, 0, 0, 1, 0, 1, 2, 3, 4],
        ),
    ];
    for (name, ending) in ending {
        seeds.push((name.into(), [&grown[..], &query, ending, &query].concat()));
    }
    seeds
}

macro_rules! targets {
    ($($name:ident: $mutations:literal),*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        fn all_seeds() -> Vec<(&'static str, Seeds)> {
            vec![$((stringify!($name), $name())),*]
        }

        mod replays {
            use super::super as fuzz_support;

            $(#[test]
            fn $name() {
                super::replay(stringify!($name), fuzz_support::$name, $mutations);
            })*
        }
    };
}

targets! {
    attributes: 2000,
    commit: 2000,
    cursor: 2000,
    filter: 4000,
    identifiers: 2000,
    item: 2000,
    node: 4000,
    operations: 200,
    owed: 2000,
    payload: 2000,
    sealed_node: 2000,
    table: 2000,
    wrap: 2000
}

#[test]
fn seeds_are_the_encodings_of_now() {
    let bless = std::env::var_os("SEALVEC_BLESS").is_some_and(|value| value == "1");
    for (target, seeds) in all_seeds() {
        let directory = directory(target);
        for (name, bytes) in seeds {
            let path = directory.join(&name);
            if bless {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let found = fs::read(&path).unwrap_or_default();
            assert!(found == bytes, "{} is another encoding", path.display());
        }
    }
}

/// The names in a directory of `fuzz/`, without their extensions.
fn names(directory: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_target_is_replayed() {
    let mut expected: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    // These two are replayed by the tests of the program.
    expected.extend(["jsonl", "npy"].map(str::to_owned));
    assert_eq!(names("fuzz/fuzz_targets"), expected);
    assert_eq!(names("fuzz/seeds"), expected);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for name in expected {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
