//! The steps that make several commits: bulk writes and `optimize`, run to their end or stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sealvec::Item;

use super::{Expected, Seeds, World};

/// What stops a run after so many commits.
fn after<T: Copy>(commits: Option<usize>, told: &mut Vec<T>, progress: &T) -> ControlFlow<()> {
    told.push(*progress);
    if commits == Some(told.len()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn equal(a: &Expected, b: &Expected) -> bool {
    (&a.vector, &a.contents, &a.metadata) == (&b.vector, &b.contents, &b.metadata)
}

impl World {
    /// Whether items changed. A stop leaves some of the items as they were; which, only the index
    /// knows.
    pub(super) fn bulk(&mut self, batch: &[Seeds], stop: Option<usize>) -> bool {
        let before = self.index().describe().unwrap().version.sequence;
        let items: Vec<Item> = batch.iter().map(|seeds| self.item(*seeds)).collect();
        let given: BTreeMap<String, Expected> =
            batch.iter().map(|seeds| self.expected(*seeds)).collect();
        let mut told = Vec::new();
        let report =
            self.index().bulk_upsert(items, |progress| after(stop, &mut told, progress)).unwrap();
        let described = self.index().describe().unwrap();
        assert_eq!((report.etag, report.version), (described.etag, described.version));
        assert_eq!(report.item_count, described.item_count);
        assert_eq!(report.stopped, stop.is_some_and(|commits| commits == told.len()));

        let ids: Vec<String> = given.keys().cloned().collect();
        let (mut inserted, mut updated) = (0, 0);
        for (id, found) in self.fetch(&ids) {
            let (old, new) = (self.items.get(&id), &given[&id]);
            if old == found.as_ref() {
                assert!(report.stopped || old.is_some_and(|old| equal(old, new)), "{id}");
                continue;
            }
            let found = found.expect("an item is gone");
            assert!(equal(&found, new) && !old.is_some_and(|old| equal(old, new)), "{id}");
            assert!((before + 1..=described.version.sequence).contains(&found.version), "{id}");
            (inserted, updated) =
                if old.is_none() { (inserted + 1, updated) } else { (inserted, updated + 1) };
            self.items.insert(id, found);
        }
        assert_eq!((report.inserted, report.updated), (inserted, updated));
        let done = report.inserted + report.updated + report.unchanged;
        assert_eq!(told.last().map_or(0, |last| last.done), done);
        assert!(told.is_sorted_by(|a, b| a.done < b.done && a.settled <= b.settled));
        if !report.stopped {
            assert_eq!(done, batch.len() as u64);
            assert_eq!(told.last().map_or(0, |last| last.settled), done);
        }
        inserted + updated > 0
    }

    /// No item changes.
    pub(super) fn optimize(&self, stop: Option<usize>) {
        let before = self.index().describe().unwrap().version.sequence;
        let mut told = Vec::new();
        let run = |stop, told: &mut Vec<_>| {
            self.index().optimize(|progress| after(stop, told, progress)).unwrap()
        };
        let report = run(stop, &mut told);
        assert_eq!(report.rebuilt, told.len() as u64);
        assert_eq!(report.version.sequence, before + report.rebuilt);
        assert!(told.is_sorted_by(|a, b| a.done < b.done && a.remaining > b.remaining));
        if stop.is_some_and(|commits| commits == told.len()) {
            assert_eq!(Some(report.remaining), told.last().map(|last| last.remaining));
        } else {
            assert_eq!(report.remaining, 0);
            // What is done is done.
            assert_eq!(run(None, &mut Vec::new()).rebuilt, 0);
        }
    }
}
