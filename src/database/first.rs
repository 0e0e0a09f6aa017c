//! The first batch of an index: its grant table, the root's wraps and its first commit.

use crate::commit::{self, Commit, Draft, Operation};
use crate::config::IndexConfig;
use crate::crypto::IndexKey;
use crate::crypto::kdf::{self, Prk, ReadSecret};
use crate::crypto::sign::KeyPair;
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, Permissions, Trace};
use crate::keyring::table::{Principal, Table};
use crate::keyring::{self, Wraps};
use crate::store::record::Epochs;
use crate::store::{Batch, Family, Limits};

/// Everything of a new index but its name record, and the sequence of its first commit.
pub(super) fn batch(
    id: IndexId,
    name: &str,
    index_key: &IndexKey,
    config: IndexConfig,
    limits: Limits,
) -> Result<(Batch, u64)> {
    const EPOCH: u32 = 1;
    const NUMBER: u64 = 1;
    let prk = Prk::new(&kdf::root_prk(id, index_key));
    let locator = prk.locator();
    let signer = KeyPair::from_seed(prk.root_sign_seed());
    let secrets = keyring::new_secrets(&signer, EPOCH)?;
    let Wraps { records, writer } =
        keyring::seal_wraps(&prk, id, locator, Permissions::ROOT, NUMBER, &secrets)?;
    let writer = writer.ok_or(Error::Integrity(Fault::Wrap))?;
    let table = Table {
        index: id,
        number: NUMBER,
        name: name.to_owned(),
        config,
        epochs: vec![EPOCH],
        principals: vec![Principal {
            user: None,
            locator,
            permissions: Permissions::ROOT,
            grant: NUMBER,
            writer: Some(*writer.public()),
            first: 1,
            last: u64::MAX,
        }],
    };
    let mut draft = Draft::first();
    for (key, value) in records {
        draft.changes.put(Family::Catalog, key, None, value);
    }
    let read_secret = |(epoch, secret): &(u32, _)| (*epoch, ReadSecret::new(secret));
    let epochs = Epochs::new(secrets.epochs.iter().map(read_secret).collect());
    for (key, value) in table.seal(&signer, &epochs, limits.value)? {
        draft.changes.put(Family::Catalog, key, None, value);
    }
    let commit = Commit {
        index: id,
        sequence: 1,
        previous: [0; 32],
        table: NUMBER,
        table_hash: table.hash(),
        epoch: EPOCH,
        principal: None,
        grant: NUMBER,
        item_count: 0,
        total_bytes: 0,
        next_item: 1,
        dimension: 0,
        set_hash: [0; 32],
        content_tag: None,
        operation: Operation::Create,
        inserted: 0,
        updated: 0,
        deleted: 0,
        trace: Trace::None,
        folded: 0,
        fold: [0; 32],
        time: commit::now(),
    };
    let secret = epochs.get(EPOCH).ok_or(Error::Integrity(Fault::GrantTable))?;
    let (batch, head) = draft.finish(commit, None, &writer, secret)?;
    Ok((batch, head.commit.sequence))
}
