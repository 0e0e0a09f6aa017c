//! A codes segment, read in place: what a query needs of a node, without copying codes or
//! centroids.
//!
//! The layout is in `node`. A leaf that rows were appended to is [folded](fold) first.

use std::borrow::Cow;

use super::node::Entries;
use crate::codec::Reader;
use crate::id::NodeId;
use crate::vector::kernels::codes::Width;
use crate::vector::scalar::Rounded;

/// A codes segment.
pub(crate) struct NodeView<'a> {
    pub(crate) parent: NodeId,
    pub(crate) level: u8,
    pub(crate) tag: [u8; 16],
    pub(crate) span: f32,
    /// First copies among a leaf's rows; 0 in a branch.
    pub(crate) firsts: usize,
    pub(crate) centroid: CentroidView<'a>,
    pub(crate) entries: EntriesView<'a>,
}

/// A centroid of 8 bits a component.
pub(crate) struct CentroidView<'a> {
    scale: f32,
    codes: &'a [u8],
}

impl CentroidView<'_> {
    pub(crate) fn to_rounded(&self) -> Rounded {
        Rounded { scale: self.scale, codes: self.codes.to_vec() }
    }

    /// Puts the components into `out`, in place of what it held.
    pub(crate) fn expand_into(&self, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.codes.iter().map(|code| self.scale * (f32::from(*code) - 128.0)));
    }
}

/// What a node holds.
pub(crate) enum EntriesView<'a> {
    /// Of a leaf.
    Rows(RowsView<'a>),
    /// Of a branch.
    Children(ChildrenView<'a>),
}

/// The rows of a leaf, but for what is in the rows segment.
pub(crate) struct RowsView<'a> {
    pub(crate) width: Width,
    pub(crate) codes: &'a [u8],
    add: &'a [[u8; 4]],
    rescale: &'a [[u8; 4]],
    error: &'a [[u8; 4]],
    pub(crate) tags: &'a [[u8; 4]],
}

impl RowsView<'_> {
    /// The columns add, rescale and error.
    pub(crate) fn factors(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        (floats(self.add), floats(self.rescale), floats(self.error))
    }

    /// As [`factors`](Self::factors), in place of what the columns held; of `only` these rows, if
    /// it is given, whose codes come too.
    pub(crate) fn columns_into(
        &self,
        only: Option<&[u32]>,
        codes: &mut Vec<u8>,
        columns: &mut [Vec<f32>; 3],
    ) {
        codes.clear();
        for (column, bytes) in columns.iter_mut().zip([self.add, self.rescale, self.error]) {
            column.clear();
            match only {
                None => column.extend(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes))),
                Some(rows) => {
                    let rows = rows.iter().filter_map(|row| bytes.get(widen(*row)));
                    column.extend(rows.map(|bytes| f32::from_le_bytes(*bytes)));
                }
            }
        }
        self.codes_of(only.unwrap_or_default()).for_each(|code| codes.extend_from_slice(code));
    }

    /// The codes of these rows.
    pub(crate) fn codes_of(&self, rows: &[u32]) -> impl Iterator<Item = &[u8]> {
        let stride = self.codes.len().checked_div(self.tags.len()).unwrap_or_default();
        rows.iter().map(move |row| {
            let code = self.codes.get(widen(*row).saturating_mul(stride)..);
            code.and_then(|code| code.get(..stride)).unwrap_or_default()
        })
    }
}

const fn widen(row: u32) -> usize {
    row as usize
}

/// The children of a branch.
pub(crate) struct ChildrenView<'a> {
    ids: &'a [[u8; 8]],
    scales: &'a [[u8; 4]],
    squares: &'a [[u8; 4]],
    radii: &'a [[u8; 4]],
    pub(crate) codes: &'a [u8],
}

impl ChildrenView<'_> {
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ids.iter().map(|id| NodeId(u64::from_be_bytes(*id)))
    }

    pub(crate) fn scales(&self) -> Vec<f32> {
        floats(self.scales)
    }

    pub(crate) fn squares(&self) -> Vec<f32> {
        floats(self.squares)
    }

    pub(crate) fn radii(&self) -> impl Iterator<Item = f32> + '_ {
        self.radii.iter().map(|radius| f32::from_le_bytes(*radius))
    }

    pub(crate) fn to_entries(&self) -> Entries {
        Entries {
            ids: self.ids().collect(),
            scales: self.scales(),
            squares: self.squares(),
            radii: self.radii().collect(),
            codes: self.codes.to_vec(),
        }
    }
}

impl<'a> NodeView<'a> {
    /// Reads a codes segment. `None` if it is not one.
    pub(crate) fn decode(plain: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(plain);
        let (level, width) = (reader.u8()?, reader.u8()?);
        let parent = NodeId(reader.u64()?);
        let tag: [u8; 16] = reader.array()?;
        let span = f32::from_le_bytes(reader.array()?);
        let dimension = usize::from(reader.u16()?);
        let count = usize::try_from(reader.u32()?).ok()?;
        let firsts = usize::try_from(reader.u32()?).ok()?;
        // So that a node has one encoding.
        let sound = match level {
            0 => firsts <= count && tag == [0; 16],
            _ => firsts == 0 && width == BRANCH_WIDTH,
        };
        sound.then_some(())?;
        let scale = f32::from_le_bytes(reader.array()?);
        let centroid = CentroidView { scale, codes: reader.bytes(dimension)? };
        let four = count.checked_mul(4)?;
        let column = |reader: &mut Reader<'a>| Some(reader.bytes(four)?.as_chunks().0);
        let entries = if level == 0 {
            let width = Width::from_bits(width)?;
            EntriesView::Rows(RowsView {
                width,
                codes: reader.bytes(count.checked_mul(width.code_bytes(dimension))?)?,
                add: column(&mut reader)?,
                rescale: column(&mut reader)?,
                error: column(&mut reader)?,
                tags: column(&mut reader)?,
            })
        } else {
            EntriesView::Children(ChildrenView {
                ids: reader.bytes(count.checked_mul(8)?)?.as_chunks().0,
                scales: column(&mut reader)?,
                squares: column(&mut reader)?,
                radii: column(&mut reader)?,
                codes: reader.bytes(count.checked_mul(dimension)?)?,
            })
        };
        reader.finish()?;
        Some(Self { parent, level, tag, span, firsts, centroid, entries })
    }
}

/// The bits of a component of a branch's centroids.
pub(super) const BRANCH_WIDTH: u8 = 8;
/// The bytes before a node's centroid.
pub(super) const HEADER: usize = 44;
const DIMENSION: usize = 30;
const COUNTS: usize = 32;

/// Turns a codes segment and the blocks that were appended to it into the segment that the leaf
/// would have if it had been written whole. `None` if it is not such a segment. Anything else but a
/// leaf with blocks is left as it is.
///
/// A block is `count u16 | firsts u16 | codes | add | rescale | error | row tags`; each array goes
/// to the end of the leaf's own, from the last on.
pub(crate) fn fold(plain: &mut Vec<u8>) -> Option<()> {
    let Some(Shape { strides, own, own_firsts, end }) = Shape::of_appended(plain)? else {
        return Some(());
    };
    let count = usize::try_from(own).ok()?;
    let row: usize = strides.iter().sum();
    let tail = plain.split_off(end);
    let (mut blocks, mut added, mut firsts) = (Vec::new(), 0u32, 0u32);
    let mut reader = Reader::new(&tail);
    while reader.left() > 0 {
        let (rows, first) = (reader.u16()?, reader.u16()?);
        let mut columns = [&[][..]; 5];
        for (column, stride) in columns.iter_mut().zip(strides) {
            *column = reader.bytes(usize::from(rows).checked_mul(stride)?)?;
        }
        blocks.push(columns);
        (added, firsts) = (added.checked_add(rows.into())?, firsts.checked_add(first.into())?);
    }
    plain.resize(usize::try_from(added).ok()?.checked_mul(row)?.checked_add(end)?, 0);
    let (mut from, mut to) = (end, plain.len());
    for (at, stride) in strides.into_iter().enumerate().rev() {
        for column in blocks.iter().rev().filter_map(|columns| columns.get(at)) {
            to = to.checked_sub(column.len())?;
            plain.get_mut(to..)?.get_mut(..column.len())?.copy_from_slice(column);
        }
        let length = count.checked_mul(stride)?;
        (from, to) = (from.checked_sub(length)?, to.checked_sub(length)?);
        plain.copy_within(from..from.checked_add(length)?, to);
    }
    let counts = [own.checked_add(added)?, own_firsts.checked_add(firsts)?];
    let header = plain.get_mut(COUNTS..)?.get_mut(..8)?;
    header.copy_from_slice(counts.map(u32::to_be_bytes).as_flattened());
    Some(())
}

/// As [`fold`], of a segment that stays as it is.
pub(super) fn folded(plain: &[u8]) -> Option<Cow<'_, [u8]>> {
    if Shape::of_appended(plain)?.is_none() {
        return Some(Cow::Borrowed(plain));
    }
    let mut plain = plain.to_vec();
    fold(&mut plain)?;
    Some(Cow::Owned(plain))
}

/// Where things are in the codes segment of a leaf that something was appended to.
struct Shape {
    /// Bytes of a row in each of the arrays.
    strides: [usize; 5],
    own: u32,
    own_firsts: u32,
    /// Where the leaf's own segment ends.
    end: usize,
}

impl Shape {
    #[expect(clippy::option_option, reason = "malformed and not appended to are two things")]
    fn of_appended(plain: &[u8]) -> Option<Option<Self>> {
        let (level, width) = (*plain.first()?, Width::from_bits(*plain.get(1)?));
        let (Some(width), 0) = (width, level) else { return Some(None) };
        let mut reader = Reader::new(plain.get(DIMENSION..)?);
        let dimension = usize::from(reader.u16()?);
        let (own, own_firsts) = (reader.u32()?, reader.u32()?);
        let strides = [width.code_bytes(dimension), 4, 4, 4, 4];
        let rows = usize::try_from(own).ok()?.checked_mul(strides.iter().sum())?;
        let end = HEADER.checked_add(dimension)?.checked_add(rows)?;
        Some((plain.len() > end).then_some(Self { strides, own, own_firsts, end }))
    }
}

fn floats(bytes: &[[u8; 4]]) -> Vec<f32> {
    bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
