//! Asking the library whether it would take some input, without storing it.
//!
//! The rules about ids, vectors, contents and metadata are the library's. Copying them here would
//! let the two drift apart, and a fault that the copy misses would show up in the middle of an
//! import, with the batches before it written. So a batch is first stored for real in a throwaway
//! index in memory, under a throwaway key, with the settings of the true one.
//!
//! Cost: as much computation as the write itself, without the disk; memory for one batch.

use sealvec::{
    Database, Error, IndexConfig, IndexKey, Item, KeyContext, Metric, Options, Precision,
};

use crate::failure::{Failure, Result};

const NAME: &str = "scratch";

/// A throwaway index that takes what the true one takes.
#[derive(Debug)]
pub(crate) struct Scratch {
    db: Database,
    config: IndexConfig,
    caller: KeyContext,
}

/// What is wrong, and with which of the values that were handed in.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) position: usize,
    pub(crate) fault: String,
}

impl Scratch {
    pub(crate) fn new(
        options: Options,
        metric: Metric,
        precision: Precision,
        dimension: usize,
    ) -> Result<Self> {
        let db = Database::in_memory_with(options)?;
        let config = IndexConfig::new(metric).precision(precision).dimension(dimension);
        let caller = fresh(&db, config)?;
        Ok(Self { db, config, caller })
    }

    /// Says which item the index would refuse.
    pub(crate) fn check_items(&mut self, items: &[Item]) -> Result<Option<Refused>> {
        let index = self.db.open_index(NAME)?;
        let index = index.with_key(&self.caller);
        let try_all = |items: &[Item]| index.upsert(items).map(|_| ());
        let refused = first_refused(items, "item 0: ", try_all)?;
        drop(index);
        self.db.delete_index(NAME, &self.caller)?;
        self.caller = fresh(&self.db, self.config)?;
        Ok(refused)
    }

    /// Says which query the index would refuse.
    pub(crate) fn check_queries(&self, queries: &[Vec<f32>]) -> Result<Option<Refused>> {
        let index = self.db.open_index(NAME)?;
        let index = index.with_key(&self.caller);
        first_refused(queries, "query 0: ", |queries| {
            index.query_batch(queries.iter().map(Vec::as_slice)).run().map(|_| ())
        })
    }
}

fn fresh(db: &Database, config: IndexConfig) -> Result<KeyContext> {
    let key = IndexKey::generate()?;
    db.create_index(NAME, &key, config)?;
    Ok(KeyContext::root(key))
}

/// Tries all values at once, and one by one only if something is wrong.
fn first_refused<T>(
    values: &[T],
    prefix: &str,
    attempt: impl Fn(&[T]) -> sealvec::Result<()>,
) -> Result<Option<Refused>> {
    let Err(error) = attempt(values) else { return Ok(None) };
    for (position, value) in values.iter().enumerate() {
        match attempt(std::slice::from_ref(value)) {
            Ok(()) => {}
            Err(Error::InvalidArgument(message)) => {
                let fault = message.strip_prefix(prefix).unwrap_or(&message).to_owned();
                return Ok(Some(Refused { position, fault }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Library(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refused_value_is_named() {
        let options = || Options::new().threads(1);
        let mut scratch = Scratch::new(options(), Metric::Cosine, Precision::F16, 2).unwrap();
        let good = || Item::new("a", [1.0, 0.0]);
        assert!(scratch.check_items(&[good(), good()]).unwrap().is_none());
        let items = [good(), Item::new("b", [1.0, 70000.0]), Item::new("", [1.0, 0.0])];
        let refused = scratch.check_items(&items).unwrap().unwrap();
        assert_eq!(refused.position, 1);
        assert!(refused.fault.starts_with("its vector"), "{}", refused.fault);
        // The refused batch left nothing behind.
        assert!(scratch.check_items(&[good()]).unwrap().is_none());

        let queries = [vec![1.0, 0.0], vec![0.0, 0.0]];
        let refused = scratch.check_queries(&queries).unwrap().unwrap();
        assert_eq!(refused.position, 1);
        assert!(!refused.fault.starts_with("query"), "{}", refused.fault);
    }
}
