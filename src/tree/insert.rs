//! Putting items in, and moving them.
//!
//! Steps: find the leaves of each item; encode it into them; split what overflowed. A second copy
//! goes to the best leaf that has room for one, among a few; without room an item has one copy.

use std::collections::{BTreeMap, HashMap};

use super::node::{Copy, Node, Row};
use super::plan::{Placed, Plan, Point};
use super::route::Assigned;
use super::{Home, damaged};
use crate::error::Result;
use crate::id::NodeId;

impl Plan<'_> {
    /// Puts items into the tree. None of them may be in it.
    pub(crate) fn insert(&mut self, points: Vec<Point>) -> Result<()> {
        self.place(points)?;
        self.settle(true)
    }

    /// As [`insert`](Self::insert), leaving overfull leaves as they are for now.
    pub(super) fn place(&mut self, mut points: Vec<Point>) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        if self.root()?.is_none() {
            let root = Node::Leaf(self.root_leaf());
            self.put(NodeId::ROOT, Some(root));
        }
        for point in &mut points {
            point.vector = self.stretched(&point.vector);
            self.remember(point.row.pseudonym, &point.vector);
        }
        let assigned = if let Some(Node::Leaf(_)) = self.root()? {
            let to_root = |_: &Point| Assigned { first: NodeId::ROOT, seconds: Vec::new() };
            points.iter().map(to_root).collect()
        } else {
            let vectors: Vec<Placed> = points.iter().map(|point| point.vector.clone()).collect();
            self.assign(&vectors, None)?
        };
        let mut coming: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in assigned.iter().flat_map(|a| a.seconds.first().into_iter().chain([&a.first])) {
            *coming.entry(*id).or_default() += 1;
        }
        self.prepare(&coming)?;
        let mut rows: BTreeMap<NodeId, Vec<(Row, Placed)>> = BTreeMap::new();
        let mut room = HashMap::new();
        for (point, assigned) in points.into_iter().zip(assigned) {
            let second = self.with_room(&assigned.seconds, &mut room)?;
            let item = point.row.pseudonym;
            self.set_home(item, Some(Home { first: assigned.first, second }));
            if let Some(second) = second {
                let row = Row { copy: Copy::Second, ..point.row.clone() };
                rows.entry(second).or_default().push((row, point.vector.clone()));
            }
            let row = Row { copy: Copy::First, ..point.row };
            rows.entry(assigned.first).or_default().push((row, point.vector));
        }
        self.add_rows(rows)
    }

    /// Gives items whose first copy is in place a second one, or another. `items` are the rows of
    /// the first copies.
    pub(super) fn respill(&mut self, items: &[Row]) -> Result<()> {
        if items.is_empty() || !self.spills()? {
            return Ok(());
        }
        let vectors = self.vectors_of(items)?;
        let names: Vec<_> = items.iter().map(|row| row.pseudonym).collect();
        let homes = self.homes_of(&names)?;
        let homes = homes.into_iter().collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let firsts: Vec<NodeId> = homes.iter().map(|home| home.first).collect();
        let assigned = self.assign(&vectors, Some(&firsts))?;
        let mut rows: BTreeMap<NodeId, Vec<(Row, Placed)>> = BTreeMap::new();
        let mut room = HashMap::new();
        for (((row, vector), home), assigned) in items.iter().zip(vectors).zip(homes).zip(assigned)
        {
            // Staying with what is nearly as good spares two leaves.
            if home.second.is_some() && assigned.seconds.first() == home.second.as_ref() {
                continue;
            }
            if let Some(old) = home.second {
                self.load([old])?;
                self.take_row(old, &row.pseudonym, Some(Copy::Second))?;
                room.entry(old).and_modify(|left| *left += 1);
            }
            let second = self.with_room(&assigned.seconds, &mut room)?;
            self.set_home(row.pseudonym, Some(Home { second, ..home }));
            if let Some(second) = second {
                let row = Row { copy: Copy::Second, ..row.clone() };
                rows.entry(second).or_default().push((row, vector));
            }
        }
        self.add_rows(rows)
    }

    /// The first of these leaves that has room for another second copy; takes the room.
    fn with_room(
        &mut self,
        seconds: &[NodeId],
        room: &mut HashMap<NodeId, usize>,
    ) -> Result<Option<NodeId>> {
        let most = self.space.rules.seconds_most();
        for id in seconds {
            if !room.contains_key(id) {
                self.prepare(&BTreeMap::from([(*id, 1)]))?;
                room.insert(*id, most.saturating_sub(self.seconds_in(*id)?));
            }
            let left = room.entry(*id).or_default();
            if *left > 0 {
                *left -= 1;
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }
}
