//! Nodes: what a leaf and a branch hold, and the plaintext of their two segments.
//!
//! Codes segment, integers big-endian, arrays of floats little-endian:
//! `level u8 | width u8 | parent u64 | tag 16 | span f32 | dimension u16 | count u32 | firsts u32`
//! `| scale f32 | centroid |` and then, for a leaf (level 0), `codes | add | rescale | error | row tags`, one
//! array each; for a branch, `ids | scales | squares | radii | centroids`. The dimension is the
//! padded one. A centroid is 8 bits a component with one scale, and that rounded value *is* the
//! centroid: the entry in the parent and the one in the node are the same bytes, and codes are
//! taken of the residual to it.
//!
//! Rows segment, leaves only, 68 bytes a row:
//! `pseudonym 16 | item number u64 | version u64 | epoch u32 | parts u16 | copy u8 | 0 u8`
//! `| salt 24 | norm f32`.
//! With it a query finds and opens a vector without the item record. The row tag in the codes is
//! the first four bytes of the pseudonym, itself a keyed hash: two copies of an item are told apart
//! from two items before any row is opened.

use super::squared_distance;
use super::view::{EntriesView, HEADER, NodeView, folded};
use crate::codec::{Reader, Writer};
use crate::crypto::kdf::Salt;
use crate::id::{ItemNumber, NodeId};
use crate::store::key::Pseudonym;
use crate::vector::kernels::codes::Width;
use crate::vector::rabitq::Factors;
use crate::vector::scalar::Rounded;

/// Bytes of a row in the rows segment.
pub(crate) const ROW: usize = 68;

/// Which of an item's two copies a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// In the leaf whose centroid is nearest.
    First,
    /// The spilled one.
    Second,
}

/// What a leaf knows of an item besides its code.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Row {
    pub(crate) pseudonym: Pseudonym,
    pub(crate) number: ItemNumber,
    /// Version, epoch and salt lead to the key of the item's payload.
    pub(crate) version: u64,
    pub(crate) epoch: u32,
    /// Values the vector is stored in.
    pub(crate) parts: u16,
    pub(crate) copy: Copy,
    pub(crate) salt: Salt,
}

impl Row {
    pub(super) fn encode(&self, norm: f32, out: &mut Writer) {
        out.bytes(&self.pseudonym).u64(self.number.0).u64(self.version).u32(self.epoch);
        out.u16(self.parts).u8(u8::from(self.copy == Copy::Second)).u8(0).bytes(&self.salt);
        out.bytes(&norm.to_le_bytes());
    }

    /// Reads one row.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_with_norm(bytes).map(|(row, _)| row)
    }

    fn decode_with_norm(bytes: &[u8]) -> Option<(Self, f32)> {
        let mut reader = Reader::new(bytes);
        let row = Self {
            pseudonym: reader.array()?,
            number: ItemNumber(reader.u64()?),
            version: reader.u64()?,
            epoch: reader.u32()?,
            parts: reader.u16().filter(|parts| *parts > 0)?,
            copy: match (reader.u8()?, reader.u8()?) {
                (0, 0) => Copy::First,
                (1, 0) => Copy::Second,
                _ => return None,
            },
            salt: reader.array()?,
        };
        let norm = f32::from_le_bytes(reader.array()?);
        reader.finish()?;
        Some((row, norm))
    }

    /// The low half of the item number: what tells items apart, and whether a filter selects them,
    /// before rows are opened.
    pub(crate) const fn tag(&self) -> [u8; 4] {
        let [_, _, _, _, tag @ ..] = self.number.0.to_be_bytes();
        tag
    }
}

/// A node at level 0.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) parent: NodeId,
    pub(crate) centroid: Rounded,
    /// Of a root; see [`Space`](super::Space). Elsewhere 0.
    pub(crate) span: f32,
    pub(crate) width: Width,
    pub(crate) rows: Vec<Row>,
    /// One after the other, in the order of the rows.
    pub(crate) codes: Vec<u8>,
    pub(crate) factors: Vec<Factors>,
}

impl Leaf {
    pub(crate) fn empty(parent: NodeId, centroid: Rounded, width: Width) -> Self {
        let (rows, codes, factors) = (Vec::new(), Vec::new(), Vec::new());
        Self { parent, centroid, span: 0.0, width, rows, codes, factors }
    }

    pub(crate) fn firsts(&self) -> usize {
        self.rows.iter().filter(|row| row.copy == Copy::First).count()
    }

    pub(crate) fn seconds(&self) -> usize {
        self.rows.len() - self.firsts()
    }

    /// Bytes of one code.
    pub(crate) fn code_bytes(&self) -> usize {
        self.width.code_bytes(self.centroid.codes.len())
    }

    pub(crate) fn push(&mut self, row: Row, code: &[u8], factors: Factors) {
        self.rows.push(row);
        self.codes.extend_from_slice(code);
        self.factors.push(factors);
    }

    /// Takes out an item's row of this kind; the last row takes its place.
    pub(crate) fn take(&mut self, item: &Pseudonym, copy: Option<Copy>) -> Option<Row> {
        let wanted = |row: &Row| row.pseudonym == *item && copy.is_none_or(|copy| row.copy == copy);
        let at = self.rows.iter().position(wanted)?;
        let (row, _) = (self.rows.swap_remove(at), self.factors.swap_remove(at));
        let size = self.code_bytes();
        let last = self.codes.len().checked_sub(size)?;
        self.codes.copy_within(last.., at * size);
        self.codes.truncate(last);
        Some(row)
    }

    /// The root mean square distance of the first copies to the centroid.
    pub(super) fn radius(&self) -> f32 {
        let rows = self.rows.iter().zip(&self.factors);
        let firsts = rows.filter(|(row, _)| row.copy == Copy::First);
        mean_square(firsts.map(|(_, factors)| f64::from(factors.norm).powi(2)))
    }
}

/// The children of a branch, or of several: parallel arrays, ready to be scored together.
#[derive(Clone, Default)]
pub(crate) struct Entries {
    pub(crate) ids: Vec<NodeId>,
    pub(crate) scales: Vec<f32>,
    /// The squared length of each centroid.
    pub(crate) squares: Vec<f32>,
    /// About what [`Node::radius`] says of the child; what was taken away since may not show.
    pub(crate) radii: Vec<f32>,
    /// The components of the centroids, one centroid after the other.
    pub(crate) codes: Vec<u8>,
}

impl Entries {
    pub(crate) const fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn position(&self, child: NodeId) -> Option<usize> {
        self.ids.iter().position(|id| *id == child)
    }

    pub(crate) fn push(&mut self, id: NodeId, centroid: &Rounded, radius: f32) {
        self.ids.push(id);
        self.scales.push(centroid.scale);
        self.squares.push(square(centroid));
        self.radii.push(radius);
        self.codes.extend_from_slice(&centroid.codes);
    }

    pub(crate) fn remove(&mut self, child: NodeId) -> bool {
        let Some(at) = self.position(child) else { return false };
        let Some(width) = self.codes.len().checked_div(self.len()) else { return false };
        self.ids.remove(at);
        self.scales.remove(at);
        self.squares.remove(at);
        self.radii.remove(at);
        self.codes.drain(at * width..(at + 1) * width);
        true
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.ids.extend_from_slice(&other.ids);
        self.scales.extend_from_slice(&other.scales);
        self.squares.extend_from_slice(&other.squares);
        self.radii.extend_from_slice(&other.radii);
        self.codes.extend_from_slice(&other.codes);
    }

    pub(crate) fn centroid(&self, at: usize) -> Option<Rounded> {
        let width = self.codes.len().checked_div(self.len())?;
        let codes = self.codes.get(at * width..(at + 1) * width)?.to_vec();
        Some(Rounded { scale: *self.scales.get(at)?, codes })
    }
}

/// The root of the mean of squares; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is too far for a number is infinitely far"
)]
fn mean_square(squares: impl Iterator<Item = f64>) -> f32 {
    let (count, sum) = squares.fold((0.0, 0.0), |(count, sum), square| (count + 1.0, sum + square));
    (sum / f64::max(count, 1.0)).sqrt() as f32
}

/// The radius of so many first copies and so many others together, rounded.
pub(super) fn pooled(parts: &[(usize, f32)]) -> f32 {
    let squares = parts
        .iter()
        .flat_map(|(count, radius)| std::iter::repeat_n(f64::from(*radius).powi(2), *count));
    coarse(mean_square(squares))
}

/// Rounded to four bits after the first, so that little of one item among many shows. What is no
/// number is infinite: both say nothing.
pub(crate) const fn coarse(radius: f32) -> f32 {
    const REST: u32 = 1 << 19;
    if radius.is_nan() {
        return f32::INFINITY;
    }
    f32::from_bits((radius.to_bits() + REST / 2) & !(REST - 1))
}

fn square(centroid: &Rounded) -> f32 {
    centroid.expand().iter().map(|x| x * x).sum()
}

/// A node above the leaves.
#[derive(Clone)]
pub(crate) struct Branch {
    pub(crate) parent: NodeId,
    /// 1 for the parents of leaves.
    pub(crate) level: u8,
    pub(crate) centroid: Rounded,
    /// As in a leaf.
    pub(crate) span: f32,
    /// The start of the ETag that the leaves below were rebuilt under; zero if they never were.
    pub(crate) tag: [u8; 16],
    pub(crate) children: Entries,
}

impl Branch {
    fn radius(&self) -> f32 {
        let own = self.centroid.expand();
        let children = (0..self.children.len()).filter_map(|at| {
            let centroid = self.children.centroid(at)?.expand();
            let apart = f64::from(squared_distance(&own, &centroid));
            Some(apart + f64::from(*self.children.radii.get(at)?).powi(2))
        });
        mean_square(children)
    }
}

/// A node of the tree.
#[derive(Clone)]
pub(crate) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

impl Node {
    pub(crate) const fn centroid(&self) -> &Rounded {
        match self {
            Self::Leaf(leaf) => &leaf.centroid,
            Self::Branch(branch) => &branch.centroid,
        }
    }

    /// 0 for leaves.
    pub(crate) const fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch(branch) => branch.level,
        }
    }

    pub(crate) const fn span(&self) -> f32 {
        match self {
            Self::Leaf(leaf) => leaf.span,
            Self::Branch(branch) => branch.span,
        }
    }

    /// How far from its centroid what is below the node is: the root mean square over the first
    /// copies of a leaf; over the children of a branch, each of which counts the same. Rounded.
    pub(crate) fn radius(&self) -> f32 {
        coarse(match self {
            Self::Leaf(leaf) => leaf.radius(),
            Self::Branch(branch) => branch.radius(),
        })
    }

    pub(crate) const fn parent(&self) -> NodeId {
        match self {
            Self::Leaf(leaf) => leaf.parent,
            Self::Branch(branch) => branch.parent,
        }
    }

    pub(crate) const fn set_parent(&mut self, parent: NodeId) {
        match self {
            Self::Leaf(leaf) => leaf.parent = parent,
            Self::Branch(branch) => branch.parent = parent,
        }
    }

    /// The codes segment and the rows segment. `None` if there are more components or rows than the
    /// format counts.
    pub(crate) fn encode(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let centroid = self.centroid();
        let (level, width, tag, count, firsts) = match self {
            Self::Leaf(leaf) => (0, leaf.width.bits(), [0; 16], leaf.rows.len(), leaf.firsts()),
            Self::Branch(branch) => (branch.level, 8, branch.tag, branch.children.len(), 0),
        };
        let span = self.span();
        let entry = match self {
            // Add, rescale, error and row tag.
            Self::Leaf(leaf) => leaf.code_bytes() + 16,
            // Id, scale, square and radius.
            Self::Branch(_) => centroid.codes.len() + 20,
        };
        let mut out = Writer::with_capacity(HEADER + centroid.codes.len() + entry * count);
        out.u8(level).u8(u8::try_from(width).ok()?).u64(self.parent().0).bytes(&tag);
        out.bytes(&span.to_le_bytes());
        out.u16(u16::try_from(centroid.codes.len()).ok()?).u32(u32::try_from(count).ok()?);
        out.u32(u32::try_from(firsts).ok()?);
        out.bytes(&centroid.scale.to_le_bytes()).bytes(&centroid.codes);
        let mut rows = Writer::with_capacity(0);
        match self {
            Self::Leaf(leaf) => {
                rows = Writer::with_capacity(leaf.rows.len() * ROW);
                let norms = leaf.factors.iter().map(|factors| factors.norm);
                leaf.rows.iter().zip(norms).for_each(|(row, norm)| row.encode(norm, &mut rows));
                put_rows(&leaf.rows, &leaf.codes, &leaf.factors, &mut out);
            }
            Self::Branch(Branch { children, .. }) => {
                children.ids.iter().for_each(|id| {
                    out.u64(id.0);
                });
                put(&mut out, children.scales.iter().copied());
                put(&mut out, children.squares.iter().copied());
                put(&mut out, children.radii.iter().copied());
                out.bytes(&children.codes);
            }
        }
        Some((out.finish(), rows.finish()))
    }

    /// From the two segments, with what was appended to them.
    pub(crate) fn decode(codes: &[u8], rows: &[u8]) -> Option<Self> {
        let codes = folded(codes)?;
        let NodeView { parent, level, tag, span, firsts, centroid, entries } =
            NodeView::decode(&codes)?;
        let centroid = centroid.to_rounded();
        match entries {
            EntriesView::Children(view) => {
                let children = view.to_entries();
                let branch = Branch { parent, level, centroid, span, tag, children };
                rows.is_empty().then_some(Self::Branch(branch))
            }
            EntriesView::Rows(view) => {
                let (rows, rest) = rows.as_chunks::<ROW>();
                let rows = rows.iter().map(|row| Row::decode_with_norm(row));
                let (rows, norm): (Vec<Row>, Vec<f32>) =
                    rows.collect::<Option<Vec<_>>>()?.into_iter().unzip();
                let tags = rows.iter().map(Row::tag);
                let agree = rest.is_empty() && tags.eq(view.tags.iter().copied());
                let first = |row: &&Row| row.copy == Copy::First;
                let agree = agree && rows.iter().filter(first).count() == firsts;
                let (add, rescale, error) = view.factors();
                let factors = add.into_iter().zip(rescale).zip(error).zip(norm);
                let factors = factors.map(|(((add, rescale), error), norm)| Factors {
                    add,
                    rescale,
                    error,
                    norm,
                });
                let (width, codes) = (view.width, view.codes.to_vec());
                let factors = factors.collect();
                let leaf = Leaf { parent, centroid, span, width, rows, codes, factors };
                agree.then_some(Self::Leaf(leaf))
            }
        }
    }
}

/// The arrays that a leaf's codes segment ends with.
pub(super) fn put_rows(rows: &[Row], codes: &[u8], factors: &[Factors], out: &mut Writer) {
    out.bytes(codes);
    put(out, factors.iter().map(|factors| factors.add));
    put(out, factors.iter().map(|factors| factors.rescale));
    put(out, factors.iter().map(|factors| factors.error));
    for row in rows {
        out.bytes(&row.tag());
    }
}

fn put(out: &mut Writer, values: impl Iterator<Item = f32>) {
    values.for_each(|value| {
        out.bytes(&value.to_le_bytes());
    });
}
