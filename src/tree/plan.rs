//! A change of the tree under construction: the nodes it has touched, and what becomes of them.
//!
//! Nodes, homes and vectors are loaded once, when something first asks for them. Nothing is written
//! here; [`Plan::finish`] hands out what differs. A plan that is dropped has changed nothing.
//!
//! Cost: the nodes and vectors of the plan are in memory until it ends. A write of one item touches
//! two leaves and the branches on the way to them, and of the leaves only what
//! [`append`](super::append) needs if the item is new; a split the vectors of its leaf and its
//! neighbours.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::append::{Stub, join};
use super::node::{Branch, Copy, Entries, Leaf, Node, Row};
use super::{Backing, Home, Space, damaged, map};
use crate::error::Result;
use crate::id::NodeId;
use crate::store::key::Pseudonym;
use crate::vector::rabitq;
use crate::vector::scalar::Rounded;

/// A parent is told of a child's radius if it is off by more than this share of what it knows:
/// more than rounding alone makes it.
const NEWS: f32 = 0.07;

/// A placed vector.
pub(crate) type Placed = Arc<[f32]>;

/// An item to be put into the tree.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) row: Row,
    pub(crate) vector: Placed,
}

/// What a plan changes.
pub(crate) struct Effects {
    /// Nodes to be written; `None`: to be deleted.
    pub(crate) nodes: Vec<(NodeId, Option<Node>)>,
    /// Rows to be appended to leaves: each leaf with the new rows only.
    pub(crate) appended: Vec<(NodeId, Leaf)>,
    /// Where every item is that the plan put somewhere.
    pub(crate) homes: HashMap<Pseudonym, Home>,
}

pub(super) struct Slot {
    node: Option<Node>,
    /// Whether it is in the store.
    stored: bool,
    dirty: bool,
}

#[derive(Clone, Copy)]
struct Known {
    home: Option<Home>,
    changed: bool,
}

/// A change under construction.
pub(crate) struct Plan<'a> {
    pub(super) backing: &'a dyn Backing,
    pub(super) space: &'a Space,
    pub(super) slots: BTreeMap<NodeId, Slot>,
    /// Leaves that rows are appended to, and that are not loaded.
    pub(super) stubs: BTreeMap<NodeId, Stub>,
    homes: HashMap<Pseudonym, Known>,
    vectors: HashMap<Pseudonym, Placed>,
    next: u64,
    /// The root's span, once the root is known.
    span: f32,
    /// Leaves that may have become too large.
    pub(super) overfull: Vec<NodeId>,
    /// Leaves that rows were added to.
    grown: BTreeSet<NodeId>,
    /// Leaves that may have become too small.
    pub(super) thinned: BTreeSet<NodeId>,
}

/// Fewer rows than this are not worth another thread.
const FEW: usize = 64;

/// Nodes that one commit can make.
const IDS_PER_COMMIT: u64 = 1 << 20;

impl<'a> Plan<'a> {
    /// A plan for the commit with this sequence, which makes its node ids unique.
    pub(crate) fn new(backing: &'a dyn Backing, space: &'a Space, sequence: u64) -> Self {
        Self {
            backing,
            space,
            slots: BTreeMap::new(),
            stubs: BTreeMap::new(),
            homes: HashMap::new(),
            vectors: HashMap::new(),
            next: sequence.wrapping_mul(IDS_PER_COMMIT),
            span: 0.0,
            overfull: Vec::new(),
            grown: BTreeSet::new(),
            thinned: BTreeSet::new(),
        }
    }

    /// What differs from the store.
    pub(crate) fn finish(mut self) -> Result<Effects> {
        self.set_radii_of_appended()?;
        self.set_radii()?;
        let appended = self.stubs.into_iter().filter(|(_, stub)| !stub.leaf.rows.is_empty());
        let appended = appended.map(|(id, stub)| (id, stub.leaf)).collect();
        let changed = self.slots.into_iter().filter(|(_, slot)| slot.dirty);
        let nodes = changed
            .filter(|(_, slot)| slot.stored || slot.node.is_some())
            .map(|(id, slot)| (id, slot.node));
        let homes = self.homes.into_iter().filter(|(_, known)| known.changed);
        Ok(Effects {
            nodes: nodes.collect(),
            appended,
            homes: homes.filter_map(|(item, known)| Some((item, known.home?))).collect(),
        })
    }

    pub(super) fn fresh_id(&mut self) -> NodeId {
        self.next = self.next.wrapping_add(1);
        NodeId(self.next)
    }

    /// Makes nodes available. All but the root must be there.
    pub(super) fn load(&mut self, ids: impl IntoIterator<Item = NodeId>) -> Result<()> {
        let mut missing: Vec<NodeId> =
            ids.into_iter().filter(|id| !self.slots.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        for (id, mut node) in missing.iter().zip(self.backing.nodes(&missing)?) {
            if node.is_none() && *id != NodeId::ROOT {
                return Err(damaged());
            }
            if let (NodeId::ROOT, Some(root)) = (*id, &node) {
                self.span = root.span();
            }
            let (stored, mut dirty) = (node.is_some(), false);
            if let Some(new) = self.take_stub(*id) {
                let Some(Node::Leaf(leaf)) = &mut node else { return Err(damaged()) };
                join(leaf, new);
                dirty = true;
                self.grown.insert(*id);
            }
            self.slots.insert(*id, Slot { node, stored, dirty });
        }
        Ok(())
    }

    /// The root, if the tree is not empty.
    pub(super) fn root(&mut self) -> Result<Option<&Node>> {
        self.load([NodeId::ROOT])?;
        Ok(self.slots.get(&NodeId::ROOT).and_then(|slot| slot.node.as_ref()))
    }

    /// A node that was loaded or put.
    pub(super) fn node(&self, id: NodeId) -> Result<&Node> {
        self.slots.get(&id).and_then(|slot| slot.node.as_ref()).ok_or_else(damaged)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        let slot = self.slots.get_mut(&id).ok_or_else(damaged)?;
        slot.dirty = true;
        slot.node.as_mut().ok_or_else(damaged)
    }

    pub(super) fn leaf(&self, id: NodeId) -> Result<&Leaf> {
        match self.node(id)? {
            Node::Leaf(leaf) => Ok(leaf),
            Node::Branch(_) => Err(damaged()),
        }
    }

    pub(super) fn leaf_mut(&mut self, id: NodeId) -> Result<&mut Leaf> {
        match self.node_mut(id)? {
            Node::Leaf(leaf) => Ok(leaf),
            Node::Branch(_) => Err(damaged()),
        }
    }

    pub(super) fn branch(&self, id: NodeId) -> Result<&Branch> {
        match self.node(id)? {
            Node::Branch(branch) => Ok(branch),
            Node::Leaf(_) => Err(damaged()),
        }
    }

    pub(super) fn branch_mut(&mut self, id: NodeId) -> Result<&mut Branch> {
        match self.node_mut(id)? {
            Node::Branch(branch) => Ok(branch),
            Node::Leaf(_) => Err(damaged()),
        }
    }

    pub(super) fn put(&mut self, id: NodeId, node: Option<Node>) {
        match self.slots.entry(id) {
            Entry::Occupied(mut slot) => {
                slot.get_mut().node = node;
                slot.get_mut().dirty = true;
            }
            Entry::Vacant(slot) => {
                slot.insert(Slot { node, stored: false, dirty: true });
            }
        }
    }

    /// Whether the node is there, among those loaded or put.
    pub(super) fn has(&self, id: NodeId) -> bool {
        self.slots.get(&id).is_some_and(|slot| slot.node.is_some())
    }

    /// Whether the plan took the node away.
    pub(super) fn is_gone(&self, id: NodeId) -> bool {
        self.slots.get(&id).is_some_and(|slot| slot.node.is_none())
    }

    /// The leaves of items, loading what is not known. An item the plan removed has none.
    pub(super) fn homes_of(&mut self, items: &[Pseudonym]) -> Result<Vec<Option<Home>>> {
        let mut unknown: Vec<Pseudonym> =
            items.iter().filter(|item| !self.homes.contains_key(*item)).copied().collect();
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            for (item, home) in unknown.iter().zip(self.backing.homes(&unknown)?) {
                self.homes.insert(*item, Known { home: Some(home), changed: false });
            }
        }
        Ok(items.iter().map(|item| self.homes.get(item).and_then(|known| known.home)).collect())
    }

    pub(super) fn set_home(&mut self, item: Pseudonym, home: Option<Home>) {
        self.homes.insert(item, Known { home, changed: true });
    }

    /// Takes the span from these vectors if there is none yet, and has all that is known follow it.
    pub(super) fn set_span(&mut self, vectors: &[Placed]) {
        if self.span > 0.0 {
            return;
        }
        self.span = self.space.span_of(vectors.iter().map(|vector| &**vector));
        let known: Vec<Pseudonym> = self.vectors.keys().copied().collect();
        for item in known {
            if let Some(vector) = self.vectors.remove(&item) {
                let vector = self.stretched(&vector);
                self.vectors.insert(item, vector);
            }
        }
    }

    /// A placed vector with its additional coordinate, if there is one.
    pub(super) fn stretched(&self, vector: &Placed) -> Placed {
        if self.span > 0.0 {
            let mut stretched = vector.to_vec();
            self.space.stretch(&mut stretched, self.span);
            stretched.into()
        } else {
            Arc::clone(vector)
        }
    }

    /// An empty leaf to be the root.
    pub(super) fn root_leaf(&self) -> Leaf {
        let leaf = Leaf::empty(NodeId::ROOT, self.zero(), self.space.rules.width);
        Leaf { span: self.span, ..leaf }
    }

    /// A branch to be the root.
    pub(super) fn root_branch(&self, level: u8, children: Entries) -> Branch {
        let (parent, centroid, span) = (NodeId::ROOT, self.zero(), self.span);
        Branch { parent, level, centroid, span, tag: [0; 16], children }
    }

    fn zero(&self) -> Rounded {
        Rounded::round(&vec![0.0; self.space.padded()])
    }

    pub(super) fn remember(&mut self, item: Pseudonym, vector: &Placed) {
        self.vectors.insert(item, Arc::clone(vector));
    }

    pub(super) fn forget(&mut self, item: &Pseudonym) {
        self.vectors.remove(item);
    }

    /// The placed vectors of rows, in order.
    pub(super) fn vectors_of(&mut self, rows: &[Row]) -> Result<Vec<Placed>> {
        let mut seen = HashSet::new();
        let missing: Vec<&Row> = rows
            .iter()
            .filter(|row| !self.vectors.contains_key(&row.pseudonym) && seen.insert(row.pseudonym))
            .collect();
        let share = missing.len().div_ceil(self.backing.threads()).max(32);
        let (backing, space) = (self.backing, self.space);
        let placed = map(backing, missing.chunks(share).collect(), |share: &[&Row]| {
            let vectors = backing.vectors(share)?;
            Ok(vectors.iter().map(|vector| Arc::from(space.place(vector))).collect::<Vec<_>>())
        })?;
        for (row, vector) in missing.iter().zip(placed.into_iter().flatten()) {
            let vector = self.stretched(&vector);
            self.vectors.insert(row.pseudonym, vector);
        }
        let all = rows.iter().map(|row| self.vectors.get(&row.pseudonym).cloned());
        all.collect::<Option<Vec<_>>>().ok_or_else(damaged)
    }

    /// Encodes vectors into their leaves, one leaf on one thread. The leaves must be loaded or have
    /// stubs.
    pub(super) fn add_rows(&mut self, rows: BTreeMap<NodeId, Vec<(Row, Placed)>>) -> Result<()> {
        let form = self.space.form();
        self.load_full(&rows)?;
        let mut work = Vec::with_capacity(rows.len());
        for (id, rows) in rows {
            if let Some(stub) = self.stubs.get(&id) {
                work.push((id, stub.leaf.clone(), rows));
                continue;
            }
            let slot = self.slots.get_mut(&id).ok_or_else(damaged)?;
            slot.dirty = true;
            match slot.node.take() {
                Some(Node::Leaf(leaf)) => work.push((id, leaf, rows)),
                _ => return Err(damaged()),
            }
            self.grown.insert(id);
        }
        let encode = |(id, mut leaf, rows): (NodeId, Leaf, Vec<(Row, Placed)>)| {
            let centroid = leaf.centroid.expand();
            let mut code = Vec::with_capacity(leaf.code_bytes());
            for (row, vector) in rows {
                code.clear();
                let factors = rabitq::encode(leaf.width, form, &vector, &centroid, &mut code);
                leaf.push(row, &code, factors);
            }
            Ok((id, leaf))
        };
        let few = work.iter().map(|(_, _, rows)| rows.len()).sum::<usize>() < FEW;
        let done: Vec<(NodeId, Leaf)> = if few {
            work.into_iter().map(encode).collect::<Result<_>>()?
        } else {
            map(self.backing, work, encode)?
        };
        for (id, leaf) in done {
            if let Some(stub) = self.stubs.get_mut(&id) {
                stub.leaf = leaf;
                continue;
            }
            if leaf.firsts() > self.space.rules.leaf_most {
                self.overfull.push(id);
            }
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.node = Some(Node::Leaf(leaf));
            }
        }
        Ok(())
    }

    /// Takes an item's row out of a leaf, which must be loaded.
    pub(super) fn take_row(
        &mut self,
        leaf: NodeId,
        item: &Pseudonym,
        copy: Option<Copy>,
    ) -> Result<Row> {
        self.leaf_mut(leaf)?.take(item, copy).ok_or_else(damaged)
    }

    /// Tells the parents how wide the leaves are that rows were added to, and the branches that
    /// changed, from the leaves up.
    fn set_radii(&mut self) -> Result<()> {
        let grew = |(id, slot): (&NodeId, &Slot)| {
            let branch = slot.node.as_ref().is_some_and(|node| node.level() > 0);
            slot.dirty && (branch || self.grown.contains(id))
        };
        if !self.slots.iter().any(grew) {
            return Ok(());
        }
        let height = self.root()?.map_or(0, Node::level);
        for level in 0..height {
            for id in self.changed_nodes(|node| node.level() == level) {
                // What only lost rows is as wide, about.
                if level == 0 && !self.grown.contains(&id) {
                    continue;
                }
                let node = self.node(id)?;
                let (parent, radius) = (node.parent(), node.radius());
                self.set_radius(id, parent, |_| radius)?;
            }
        }
        Ok(())
    }

    /// Tells a parent the radius of a child if it is news. `radius` takes what the parent knows.
    pub(super) fn set_radius(
        &mut self,
        id: NodeId,
        parent: NodeId,
        radius: impl FnOnce(f32) -> f32,
    ) -> Result<()> {
        self.load([parent])?;
        let children = &self.branch(parent)?.children;
        let at = children.position(id).ok_or_else(damaged)?;
        let known = *children.radii.get(at).ok_or_else(damaged)?;
        let radius = radius(known);
        if !(known * (1.0 - NEWS)..=known * (1.0 + NEWS)).contains(&radius)
            && let Some(known) = self.branch_mut(parent)?.children.radii.get_mut(at)
        {
            *known = radius;
        }
        Ok(())
    }

    pub(super) fn changed_nodes(&self, wanted: impl Fn(&Node) -> bool) -> Vec<NodeId> {
        let changed = self.slots.iter().filter(|(_, slot)| slot.dirty);
        changed
            .filter(|(_, slot)| slot.node.as_ref().is_some_and(&wanted))
            .map(|(id, _)| *id)
            .collect()
    }
}
