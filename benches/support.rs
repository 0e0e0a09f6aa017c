//! What the benches share: real items from `data/`, and a plain RocksDB that stores the same bytes
//! under the same options without sealing them.

#![allow(dead_code, reason = "each bench uses its own part")]

use std::fs;
use std::path::Path;

use half::f16;
use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, ColumnFamilyDescriptor, DB, DBCompressionType, Options,
    WriteBatch, WriteOptions,
};
use sealvec::{Database, Durability, Index, IndexConfig, IndexKey, Item, KeyContext, Metric};
use serde_json::Value;

pub(crate) const DIMENSION: usize = 384;

/// The key of every bench index.
pub(crate) fn key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

/// `count` items: the 5,000 WordNet rows of `data/`, repeated under new ids when there are more.
pub(crate) fn items(count: usize) -> Vec<Item> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let npy = fs::read(root.join("wordnet-5k.f16.npy")).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let rows: Vec<Vec<f32>> = npy[header..]
        .chunks_exact(DIMENSION * 2)
        .map(|row| row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
        .collect();
    let lines = fs::read_to_string(root.join("wordnet-5k.items.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (0..count)
        .map(|number| {
            let line = &lines[number % lines.len()];
            let id = format!("{}#{}", line["id"].as_str().unwrap(), number / lines.len());
            Item::new(id, rows[number % rows.len()].clone())
                .contents(line["contents"].as_str().unwrap())
                .metadata(line["metadata"].clone())
        })
        .collect()
}

/// A sealed index in a directory, with `items` in it.
pub(crate) fn sealed(
    directory: &Path,
    items: &[Item],
    threads: usize,
) -> (Database, Index<'static>) {
    sealed_as(directory, items, threads, |config| config)
}

/// As [`sealed`], with another configuration.
pub(crate) fn sealed_as(
    directory: &Path,
    items: &[Item],
    threads: usize,
    change: impl FnOnce(IndexConfig) -> IndexConfig,
) -> (Database, Index<'static>) {
    let options = sealvec::Options::new().threads(threads).durability(Durability::Buffered);
    let database = Database::open(directory, options).unwrap();
    let config = change(IndexConfig::new(Metric::Cosine).dimension(DIMENSION));
    database.create_index("bench", &key(), config).unwrap();
    let index = database.load_index("bench", KeyContext::root(key())).unwrap();
    for batch in items.chunks(1000) {
        index.upsert(batch).unwrap();
    }
    database.flush().unwrap();
    (database, index)
}

/// A plain RocksDB with the column families, options and record sizes of the sealed index.
pub(crate) struct Plain(DB);

const FAMILIES: [&str; 5] = ["catalog", "items", "nodes", "attributes", "payload"];
/// Bytes of a row in a leaf of the tree.
const ROW: usize = 160;
/// Bytes of a sealed item record beside its id.
const RECORD: usize = 225;

impl Plain {
    pub(crate) fn open(directory: &Path) -> Self {
        let cache = Cache::new_lru_cache(256 << 20);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families = FAMILIES.map(|name| {
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&cache);
            blocks.set_block_size(16 << 10);
            blocks.set_checksum_type(ChecksumType::XXH3);
            blocks.set_bloom_filter(10.0, false);
            let mut options = Options::default();
            options.set_block_based_table_factory(&blocks);
            options.set_compression_type(DBCompressionType::None);
            ColumnFamilyDescriptor::new(name, options)
        });
        Self(DB::open_cf_descriptors(&options, directory, families).unwrap())
    }

    /// One batch: for each item, the same number of reads and of puts of the same sizes, in key
    /// order as the sealed index writes them; and a commit's worth.
    pub(crate) fn upsert(&self, items: &[PlainItem], synced: bool) {
        let mut batch = WriteBatch::default();
        let [catalog, records, _, _, payload] =
            FAMILIES.map(|name| self.0.cf_handle(name).unwrap());
        for item in items {
            let _ = self.0.get_cf(records, item.key).unwrap();
            batch.put_cf(records, item.key, &item.record);
        }
        for field in 0..3u8 {
            for item in items {
                let value = &item.values[usize::from(field)];
                batch.put_cf(payload, payload_key(field, &item.key), value);
            }
        }
        commit(&mut batch, catalog);
        self.write(batch, synced);
    }

    pub(crate) fn delete(&self, item: &PlainItem, synced: bool) {
        self.write(self.delete_batch(item), synced);
    }

    /// As [`delete`](Self::delete), and rewrites values of the size of the tree's in the same batch,
    /// which is this long in all: reads each, takes a row out, and puts it. `round` says which leaves
    /// they are.
    pub(crate) fn delete_with_leaves(
        &self,
        item: &PlainItem,
        length: usize,
        round: usize,
        synced: bool,
    ) {
        let mut batch = self.delete_batch(item);
        let nodes = self.0.cf_handle(FAMILIES[2]).unwrap();
        let size = length.saturating_sub(batch.size_in_bytes() + 2 * 32) / 2;
        for leaf in [round, round + 1] {
            let mut key = [4; 25];
            key[17..].copy_from_slice(&(leaf as u64 % 450).to_be_bytes());
            let mut value = self.0.get_cf(nodes, key).unwrap().unwrap_or_default();
            value.truncate(size.saturating_sub(ROW));
            value.resize(size, 0);
            batch.put_cf(nodes, key, &value);
        }
        self.write(batch, synced);
    }

    fn delete_batch(&self, item: &PlainItem) -> WriteBatch {
        let mut batch = WriteBatch::default();
        let [catalog, records, _, _, payload] =
            FAMILIES.map(|name| self.0.cf_handle(name).unwrap());
        let _ = self.0.get_cf(records, item.key).unwrap();
        batch.delete_cf(records, item.key);
        for (field, _) in (0u8..).zip(&item.values) {
            batch.delete_cf(payload, payload_key(field, &item.key));
        }
        commit(&mut batch, catalog);
        batch
    }

    fn write(&self, batch: WriteBatch, synced: bool) {
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        self.0.write_opt(batch, &options).unwrap();
    }
}

/// What a commit adds to a batch: commit record, set-hash state, head.
fn commit(batch: &mut WriteBatch, catalog: &rocksdb::ColumnFamily) {
    batch.put_cf(catalog, [1; 25], [0; 400]);
    batch.put_cf(catalog, [2; 17], [0; 2049]);
    batch.put_cf(catalog, [3; 17], [0; 9]);
}

fn payload_key(field: u8, key: &[u8; 33]) -> Vec<u8> {
    [&key[..16], &[field], &key[17..], &[0; 4]].concat()
}

/// An item as the plain store keeps it: same key length, same value lengths.
pub(crate) struct PlainItem {
    key: [u8; 33],
    record: Vec<u8>,
    values: [Vec<u8>; 3],
}

/// The plain twin of each item of [`items`], in key order; `seed` makes keys of their own.
pub(crate) fn plain_items(count: usize, seed: u64) -> Vec<PlainItem> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let lines = fs::read_to_string(root.join("wordnet-5k.items.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut items: Vec<PlainItem> = (0..count)
        .map(|number| {
            let line = &lines[number % lines.len()];
            let mut key = [0; 33];
            let mut state = seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for byte in &mut key[17..] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_be_bytes()[0];
            }
            let contents = line["contents"].as_str().unwrap().as_bytes().to_vec();
            let metadata = serde_json::to_vec(&line["metadata"]).unwrap();
            let id = line["id"].as_str().unwrap().len() + 2;
            let padded = |mut value: Vec<u8>| {
                value.extend_from_slice(&[0; 17]);
                value
            };
            PlainItem {
                key,
                record: vec![0; RECORD + id],
                values: [vec![0; DIMENSION * 4 + 17], padded(contents), padded(metadata)],
            }
        })
        .collect();
    items.sort_unstable_by_key(|item| item.key);
    items
}
