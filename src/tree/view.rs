//! A codes segment, read in place: what a query needs of a node, without copying codes or
//! centroids.
//!
//! The layout is in `node`.

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

    /// As [`factors`](Self::factors), in place of what the columns held.
    pub(crate) fn factors_into(&self, columns: &mut [Vec<f32>; 3]) {
        for (column, bytes) in columns.iter_mut().zip([self.add, self.rescale, self.error]) {
            column.clear();
            column.extend(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
    }
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
        let tag = reader.array()?;
        let span = f32::from_le_bytes(reader.array()?);
        let dimension = usize::from(reader.u16()?);
        let count = usize::try_from(reader.u32()?).ok()?;
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
        Some(Self { parent, level, tag, span, centroid, entries })
    }
}

fn floats(bytes: &[[u8; 4]]) -> Vec<f32> {
    bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
