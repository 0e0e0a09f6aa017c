//! Mending the tree around nodes that do not open, while items are taken out of it.
//!
//! What was in a leaf that is lost is known from the item records, so its items are put in again
//! as those of a leaf that is dissolved are. If a branch is lost, the way to what is below it is
//! lost too, and the tree is planted anew.

use std::collections::BTreeSet;

use super::node::{Copy, Row};
use super::plan::Plan;
use crate::error::Result;
use crate::id::NodeId;
use crate::store::key::Pseudonym;

/// What is to be mended.
pub(crate) struct Repair {
    /// Rows to be taken out, in leaves that open.
    pub(crate) rows: Vec<(NodeId, Pseudonym, Copy)>,
    pub(crate) ruin: Ruin,
}

/// What of a tree is lost. Rows are of items that stay and whose vectors can be read.
pub(crate) enum Ruin {
    /// Nothing.
    None,
    /// Something that cannot be mended: rows are taken out, and what is left stays where it is.
    Hopeless,
    /// Leaves, each with its parent.
    Leaves {
        leaves: Vec<(NodeId, NodeId)>,
        /// Of the items whose first copy was in one of them.
        firsts: Vec<Row>,
        /// Of those whose second copy was.
        seconds: Vec<Row>,
    },
    /// All of it: every node there is, and the rows of all items.
    Whole { nodes: Vec<NodeId>, items: Vec<Row> },
}

impl Plan<'_> {
    /// Takes rows out and puts back what was in lost nodes. The values of lost nodes are the
    /// caller's to delete.
    pub(crate) fn mend(&mut self, repair: Repair) -> Result<()> {
        let Repair { rows, ruin } = repair;
        match ruin {
            Ruin::None => {
                // Without a root there is no tree to take them from.
                self.load([NodeId::ROOT])?;
                self.take_rows(&rows)?;
                self.dissolve()
            }
            Ruin::Hopeless => {
                self.load([NodeId::ROOT])?;
                self.take_rows(&rows)
            }
            Ruin::Leaves { leaves, firsts, seconds } => {
                self.take_rows(&rows)?;
                let mut parents = BTreeSet::new();
                for (leaf, parent) in leaves {
                    self.detach(leaf, parent)?;
                    parents.insert(parent);
                }
                self.rehome(firsts, seconds, parents)?;
                self.dissolve()
            }
            Ruin::Whole { nodes, items } => {
                for node in nodes.into_iter().chain([NodeId::ROOT]) {
                    self.put(node, None);
                }
                self.rehome(items, Vec::new(), BTreeSet::new())
            }
        }
    }

    fn take_rows(&mut self, rows: &[(NodeId, Pseudonym, Copy)]) -> Result<()> {
        self.load(rows.iter().map(|(leaf, _, _)| *leaf))?;
        for (leaf, item, copy) in rows {
            self.take_row(*leaf, item, Some(*copy))?;
            if *copy == Copy::First {
                self.thinned.insert(*leaf);
            }
            self.forget(item);
            self.set_home(*item, None);
        }
        Ok(())
    }
}
