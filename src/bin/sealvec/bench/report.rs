//! What was measured, as one JSON object or as tables for people.

use std::fmt::Write;

use sealvec::{DEFAULT_EFFORT, Metric, Precision};

use crate::failure::Result;
use crate::output::{Object, array, print_line};

use super::measure::{Summary, float};
use super::phases::{BATCH, BatchDelete, Delete, Import, Search, Stateless, Upsert};
use super::plain::Plain;

/// Under which conditions.
pub(crate) struct Setup {
    pub(crate) items: u32,
    pub(crate) dimension: usize,
    pub(crate) queries: usize,
    pub(crate) metric: Metric,
    pub(crate) precision: Precision,
    pub(crate) top_k: u32,
    pub(crate) threads: usize,
    pub(crate) block_cache: usize,
    pub(crate) cache: usize,
}

pub(crate) struct Report<'a> {
    pub(crate) setup: Setup,
    pub(crate) import: Import,
    pub(crate) disk_bytes: u64,
    pub(crate) sweep: Vec<Search>,
    pub(crate) sweep_cached: Option<Vec<Search>>,
    pub(crate) exact_plain: &'a Plain,
    pub(crate) stateless: Stateless,
    pub(crate) get: Summary,
    pub(crate) upsert: Upsert,
    pub(crate) delete: Delete,
    pub(crate) peak_rss_bytes: Option<u64>,
}

impl Report<'_> {
    /// `truth` is what recall is measured by.
    pub(crate) fn print(&self, truth: &[Vec<u32>], json: bool) -> Result<()> {
        let recall = |hits: &[Vec<u32>]| recall(truth, hits, self.setup.top_k);
        if json { print_line(&self.json(recall)) } else { print_line(&self.table(recall)) }
    }

    fn json(&self, recall: impl Fn(&[Vec<u32>]) -> f64) -> String {
        let Self { setup, import, stateless, upsert, delete, .. } = self;
        let plain = Object::new().field("recall", places(recall(&self.exact_plain.hits), 4));
        let plain = times(
            plain.field("qps", places(self.exact_plain.times.per_second, 1)),
            &self.exact_plain.times,
        );
        let sweep = |searches: &[Search]| {
            array(searches.iter().map(|search| {
                let row = Object::new()
                    .field("effort", search.effort)
                    .field("default", search.effort == DEFAULT_EFFORT)
                    .field("recall", places(recall(&search.hits), 4))
                    .field("qps", places(search.times.per_second, 1));
                let means = search.means.iter();
                means
                    .fold(times(row, &search.times), |row, (name, mean)| {
                        row.field(name, places(*mean, 1))
                    })
                    .end()
            }))
        };
        let report = Object::new()
            .field("setup", setup.json())
            .field(
                "exact_plain",
                plain.field("gigabytes_per_second", places(self.exact_plain.gigabytes, 1)).end(),
            )
            .field("sweep", sweep(&self.sweep));
        let report = match &self.sweep_cached {
            Some(searches) => report.field("sweep_cached", sweep(searches)),
            None => report,
        };
        let single = |synced, unsynced| {
            let synced = times(Object::new(), synced).end();
            let unsynced = times(Object::new(), unsynced).end();
            Object::new().field("synced", synced).field("unsynced", unsynced).end()
        };
        let peak = self.peak_rss_bytes;
        report
            .field(
                "import",
                Object::new()
                    .field("items", import.items)
                    .field("seconds", places(import.seconds, 3))
                    .field("items_per_second", places(import.per_second(), 0))
                    .field("bulk", true)
                    .end(),
            )
            .field(
                "upsert",
                Object::new()
                    .field("single", single(&upsert.synced, &upsert.unsynced))
                    .field(
                        "replace",
                        Object::new()
                            .field("unsynced", times(Object::new(), &upsert.replaced).end())
                            .end(),
                    )
                    .field("batch_synced", batch_upsert(&upsert.batch_synced))
                    .field("batch", batch_upsert(&upsert.batch_unsynced))
                    .field("bytes_written_per_single_upsert", places(upsert.written, 0))
                    .field("bytes_written_per_single_upsert_compacted", places(upsert.compacted, 0))
                    .field("bytes_written_over_upserts", upsert.over)
                    .end(),
            )
            .field(
                "delete",
                Object::new()
                    .field("single", single(&delete.synced, &delete.unsynced))
                    .field("batch_synced", batch_delete(&delete.batch_synced))
                    .field("batch", batch_delete(&delete.batch_unsynced))
                    .end(),
            )
            .field(
                "stateless",
                Object::new()
                    .field("open_query_us", places(stateless.open.p50, 1))
                    .field("bound_query_us", places(stateless.bound.p50, 1))
                    .field("ratio", places(stateless.ratio(), 3))
                    .field("open_query_mean_us", places(stateless.open.mean, 1))
                    .field("bound_query_mean_us", places(stateless.bound.mean, 1))
                    .end(),
            )
            .field("get", times(Object::new(), &self.get).end())
            .field("disk_bytes", self.disk_bytes)
            .field("disk_bytes_per_item", places(self.disk_bytes_per_item(), 1))
            .field("peak_rss_bytes", peak.map_or("null".into(), |bytes| bytes.to_string()))
            .end()
    }

    fn table(&self, recall: impl Fn(&[Vec<u32>]) -> f64) -> String {
        let Self { setup, import, stateless, upsert, delete, .. } = self;
        // Writing to a String cannot fail.
        let mut out = setup.line();
        let _ = writeln!(
            out,
            "\n{:16}{:>7}{:>8}{:>10}{:>10}{:>10}{:>10}{:>11}{:>8}{:>9}",
            "search",
            "effort",
            "recall",
            "qps",
            "p50 us",
            "p95 us",
            "p99 us",
            "opened KB",
            "reads",
            "reranked"
        );
        let mut line = |what: &str, effort: &str, recall: f64, times: &Summary, rest: &str| {
            let Summary { p50, p95, p99, per_second, .. } = times;
            let _ = writeln!(
                out,
                "{what:16}{effort:>7}{recall:>8.4}{per_second:>10.1}{p50:>10.1}\
                {p95:>10.1}{p99:>10.1}{rest}"
            );
        };
        let plain = self.exact_plain;
        line("plain scan", "exact", recall(&plain.hits), &plain.times, "");
        let cached = self.sweep_cached.iter().flatten().map(|search| ("sealed, cached", search));
        for (what, search) in self.sweep.iter().map(|search| ("sealed", search)).chain(cached) {
            let mark = if search.effort == DEFAULT_EFFORT { "*" } else { "" };
            let [(_, opened), (_, reads), (_, reranked), ..] = search.means;
            let rest = format!("{:>11.1}{reads:>8.1}{reranked:>9.1}", opened / 1024.0);
            let effort = format!("{mark}{}", search.effort);
            line(what, &effort, recall(&search.hits), &search.times, &rest);
        }
        let _ = writeln!(out, "* the default; the plain scan reads {:.1} GB/s", plain.gigabytes);
        let _ = writeln!(
            out,
            "\n{:28}{:>10}{:>10}{:>10}{:>10}",
            "call", "p50 us", "p95 us", "p99 us", "mean us"
        );
        for (what, times) in [
            ("query, handle bound", &stateless.bound),
            ("query, key per call", &stateless.open),
            ("get", &self.get),
            ("upsert of one, synced", &upsert.synced),
            ("upsert of one, unsynced", &upsert.unsynced),
            ("replace of one, unsynced", &upsert.replaced),
            ("delete of one, synced", &delete.synced),
            ("delete of one, unsynced", &delete.unsynced),
        ] {
            let Summary { p50, p95, p99, mean, .. } = times;
            let _ = writeln!(out, "{what:28}{p50:>10.1}{p95:>10.1}{p99:>10.1}{mean:>10.1}");
        }
        let peak = self
            .peak_rss_bytes
            .map_or_else(|| "not known".into(), |bytes| format!("{:.1} MB", float(bytes) / 1e6));
        let _ = write!(
            out,
            "
import                      {} items in {:.2} s, {:.0} a second
upserts of {BATCH}, synced      {:.0} items a second
upserts of {BATCH}, unsynced    {:.0} items a second
delete of {:<18}{:.4} s, synced
delete of {:<18}{:.4} s, unsynced
written for an upsert       {:.0} bytes, {:.0} with compactions; over {}
on disk                     {:.1} bytes an item
peak memory                 {peak}",
            import.items,
            import.seconds,
            import.per_second(),
            items_per_second(&upsert.batch_synced),
            items_per_second(&upsert.batch_unsynced),
            delete.batch_synced.items,
            delete.batch_synced.seconds,
            delete.batch_unsynced.items,
            delete.batch_unsynced.seconds,
            upsert.written,
            upsert.compacted,
            upsert.over,
            self.disk_bytes_per_item()
        );
        out
    }

    fn disk_bytes_per_item(&self) -> f64 {
        float(self.disk_bytes) / f64::from(self.setup.items)
    }
}

impl Setup {
    fn json(&self) -> String {
        Object::new()
            .field("items", self.items)
            .field("dimension", self.dimension)
            .field("queries", self.queries)
            .text("metric", self.metric.as_str())
            .text("precision", self.precision.as_str())
            .field("top_k", self.top_k)
            .field("threads", self.threads)
            .field("block_cache_bytes", self.block_cache)
            .field("cache_bytes", self.cache)
            .end()
    }

    fn line(&self) -> String {
        let Self { items, dimension, queries, metric, precision, top_k, .. } = self;
        let threads = match self.threads {
            0 => "a thread per core".into(),
            1 => "1 thread".into(),
            more => format!("{more} threads"),
        };
        let (blocks, cache) = (self.block_cache >> 20, self.cache >> 20);
        format!(
            "{items} x {dimension} {precision}, {metric}, {queries} queries for the nearest {top_k}\n\
             {threads}, {blocks} MiB of block cache; \"cached\" is with {cache} MiB of plaintext cache\n"
        )
    }
}

impl Import {
    fn per_second(&self) -> f64 {
        float(self.items) / self.seconds.max(1e-9)
    }
}

impl Stateless {
    fn ratio(&self) -> f64 {
        self.open.p50 / self.bound.p50.max(1e-3)
    }
}

/// Of batch upserts.
fn items_per_second(batches: &Summary) -> f64 {
    batches.per_second * float(BATCH as u64)
}

fn batch_upsert(batches: &Summary) -> String {
    let object = Object::new().field("items", BATCH);
    object.field("items_per_second", places(items_per_second(batches), 0)).end()
}

fn batch_delete(batch: &BatchDelete) -> String {
    Object::new().field("items", batch.items).field("seconds", places(batch.seconds, 4)).end()
}

fn times(object: Object, times: &Summary) -> Object {
    object
        .field("p50_us", places(times.p50, 1))
        .field("p95_us", places(times.p95, 1))
        .field("p99_us", places(times.p99, 1))
        .field("mean_us", places(times.mean, 1))
}

fn places(number: f64, places: usize) -> String {
    format!("{number:.places$}")
}

/// The share of the true `top_k` that was found.
fn recall(truth: &[Vec<u32>], found: &[Vec<u32>], top_k: u32) -> f64 {
    let top_k = usize::try_from(top_k).unwrap_or(usize::MAX);
    let (mut wanted, mut seen) = (0, 0);
    for (truth, found) in truth.iter().zip(found) {
        for row in truth.iter().take(top_k) {
            wanted += 1;
            seen += u64::from(found.contains(row));
        }
    }
    float(seen) / float(wanted).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::recall;

    #[test]
    fn recall_counts_the_first_of_the_truth() {
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
        let truth = [vec![1, 2, 3], vec![4, 5, 6]];
        near(recall(&truth, &[vec![2, 1], vec![5, 9]], 2), 0.75);
        near(recall(&truth, &[vec![3, 1], vec![]], 2), 0.25);
        near(recall(&[vec![1]], &[vec![1]], 9), 1.0);
    }
}
