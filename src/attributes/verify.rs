//! Checking the attribute index against the items: both ways, every block.

use std::ops::ControlFlow;

use serde_json::Value;

use super::edits::{Edits, open};
use crate::error::Result;
use crate::id::ItemNumber;
use crate::keyring::Session;
use crate::store::key::{self, Pseudonym};
use crate::store::{Family, Snapshot};

/// Compares every stored block with what it must be. `items` gives the number, the pseudonym and
/// the metadata of every item. Returns the number of blocks there are and of blocks that are not
/// as they must be: damaged, different, missing, or of nothing.
///
/// Memory: the whole attribute index, opened.
pub(crate) fn check(
    snapshot: &dyn Snapshot,
    key: &Session,
    items: impl IntoIterator<Item = (ItemNumber, Pseudonym, Option<Value>)>,
) -> Result<(u64, u64)> {
    let mut expected = match Edits::new(&key.table.config.attributes) {
        None => std::collections::BTreeMap::new(),
        Some(mut edits) => {
            for (number, item, metadata) in items {
                edits.insert(number, item, metadata.as_ref());
            }
            edits.expected(key)?
        }
    };
    let (mut blocks, mut faults) = (0u64, 0u64);
    snapshot.scan(Family::Attributes, &key.index.0, &key.index.0, &mut |found, stored| {
        blocks += 1;
        let sound = key::attribute_of(found).is_some_and(|at| {
            let expected = expected.remove(&at);
            let opened = open(key, at, stored).ok();
            expected.is_some() && expected == opened
        });
        faults += u64::from(!sound);
        ControlFlow::Continue(())
    })?;
    Ok((blocks, faults.saturating_add(expected.len() as u64)))
}
