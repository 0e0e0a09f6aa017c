//! An account of what a query took, and the way it went.

use std::fmt;
use std::time::Duration;

use super::Hit;
use crate::index::Answer;
use crate::observe::{Observation, Stages};

/// What a query read and where its time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryStats {
    /// Nodes of the partition tree read.
    pub nodes: u64,
    /// Codes scored; for an exact query, vectors.
    pub rows: u64,
    /// Stored values read: nodes, vectors and item records; not the caller's keys, nor fields asked
    /// for.
    pub reads: u64,
    /// Bytes of plaintext that came out of these values.
    pub bytes_opened: u64,
    /// Vectors compared after their codes.
    pub reranked: u64,
    /// From the root to the list of leaves.
    pub routing: Duration,
    /// Reading and scoring leaves.
    pub scoring: Duration,
    /// Reading and comparing vectors.
    pub reranking: Duration,
    /// Reading the records of the nearest.
    pub finishing: Duration,
    /// The way it went.
    pub strategy: Strategy,
    /// With a filter: how many items the attribute index leaves. All that match are among them.
    pub selected: Option<u64>,
}

/// Tells of a call what its queries took together.
pub(super) fn tell(seen: &mut Observation, answer: &Answer<Vec<Vec<Hit>>>, stats: &[QueryStats]) {
    let mut sum = Stages { strategy: Strategy::default().as_str(), ..Stages::default() };
    let mut bytes = 0;
    for one in stats {
        sum.strategy = one.strategy.as_str();
        bytes += one.bytes_opened;
        sum.nodes += one.nodes;
        sum.rows += one.rows;
        sum.reads += one.reads;
        sum.reranked += one.reranked;
        sum.routing += one.routing;
        sum.scoring += one.scoring;
        sum.reranking += one.reranking;
        sum.finishing += one.finishing;
    }
    (seen.query, seen.bytes) = (Some(sum), Some(bytes));
    seen.results = Some(answer.value.iter().map(|hits| hits.len() as u64).sum());
    seen.sequence = Some(answer.version.sequence);
}

/// The way a query goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Through the partition tree: no filter.
    #[default]
    Tree,
    /// Through the partition tree, past the rows that the filter does not select.
    FilteredTree,
    /// By comparing everything that the filter selects.
    Matches,
    /// By comparing everything.
    Everything,
}

impl Strategy {
    /// Its name in lower case, as [`Display`](fmt::Display) writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::FilteredTree => "filtered_tree",
            Self::Matches => "matches",
            Self::Everything => "everything",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
