//! The plaintext of nodes: what is written comes back, and what was not written is refused or read
//! as something whole. Nodes are sealed, so damage never gets here but by a fault of this program;
//! still nothing panics.

use super::{METRICS, Random, Store, WIDTHS, small};
use crate::codec::Writer;
use crate::id::NodeId;
use crate::tree::Rules;
use crate::tree::node::{Entries, Leaf, Node, ROW};
use crate::tree::view::NodeView;
use crate::vector::scalar::Rounded;

/// Nodes of every kind: leaves of every width, an empty one, branches of two levels.
fn nodes() -> Vec<Node> {
    let mut all = Vec::new();
    for (width, metric) in WIDTHS.into_iter().zip(METRICS.into_iter().cycle()) {
        let mut random = Random(5);
        let vectors: Vec<_> = (0..150).map(|_| random.vector(70)).collect();
        let store = Store::filled(metric, Rules { width, ..small(8, 4) }, &vectors, 50);
        let nodes = store.nodes.keys().map(|id| store.node(*id));
        let (leaves, branches): (Vec<Node>, Vec<Node>) =
            nodes.partition(|node| matches!(node, Node::Leaf(_)));
        all.extend(leaves.into_iter().take(2));
        all.extend(branches.into_iter().take(3));
        let centroid = Rounded::round(&vec![0.5; 128]);
        all.push(Node::Leaf(Leaf::empty(NodeId(3), centroid, width)));
    }
    all
}

/// Parallel arrays are parallel.
fn assert_whole(node: &Node) {
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.factors.len(), leaf.rows.len());
            assert_eq!(leaf.codes.len(), leaf.rows.len() * leaf.code_bytes());
        }
        Node::Branch(branch) => {
            let Entries { ids, scales, squares, radii, codes } = &branch.children;
            assert_eq!([scales.len(), squares.len(), radii.len()], [ids.len(); 3]);
            assert_eq!(codes.len(), ids.len() * branch.centroid.codes.len());
            assert!(branch.level > 0);
        }
    }
}

#[test]
fn nodes_come_back_as_they_were() {
    for node in nodes() {
        assert_whole(&node);
        let (codes, rows) = node.encode().unwrap();
        let back = Node::decode(&codes, &rows).unwrap();
        assert_eq!(back.encode().unwrap(), (codes, rows));
        assert_eq!((back.level(), back.parent()), (node.level(), node.parent()));
        assert!(back.centroid() == node.centroid());
        match (&node, &back) {
            (Node::Leaf(a), Node::Leaf(b)) => {
                assert_eq!((&a.rows, &a.codes, &a.factors), (&b.rows, &b.codes, &b.factors));
                assert_eq!(a.width, b.width);
            }
            (Node::Branch(a), Node::Branch(b)) => {
                assert_eq!(a.tag, b.tag);
                assert_eq!(a.children.ids, b.children.ids);
                assert_eq!(a.children.radii, b.children.radii);
                assert_eq!(a.children.squares, b.children.squares);
                assert_eq!(a.children.codes, b.children.codes);
            }
            _ => panic!("another kind of node"),
        }
    }
}

#[test]
fn a_cut_or_extended_segment_is_refused() {
    for node in nodes() {
        let (codes, rows) = node.encode().unwrap();
        for length in 0..codes.len() {
            assert!(Node::decode(&codes[..length], &rows).is_none(), "{length}");
        }
        for length in 0..rows.len() {
            assert!(Node::decode(&codes, &rows[..length]).is_none(), "{length}");
        }
        assert!(Node::decode(&[&codes[..], &[0]].concat(), &rows).is_none());
        assert!(Node::decode(&codes, &[&rows[..], &[0]].concat()).is_none());
        assert!(Node::decode(&codes, &[&rows[..], &[0; ROW]].concat()).is_none());
        if let Some((_, fewer)) = rows.split_at_checked(ROW) {
            assert!(Node::decode(&codes, fewer).is_none());
        }
    }
}

#[test]
fn a_damaged_byte_is_refused_or_leaves_a_whole_node() {
    let (mut refused, mut read) = (0, 0);
    for node in nodes() {
        let (codes, rows) = node.encode().unwrap();
        for (segment, bytes) in [&codes, &rows].into_iter().enumerate() {
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    let found = match segment {
                        0 => Node::decode(&changed, &rows),
                        _ => Node::decode(&codes, &changed),
                    };
                    match found {
                        Some(node) => {
                            assert_whole(&node);
                            read += 1;
                        }
                        None => refused += 1,
                    }
                }
            }
        }
    }
    assert!(refused > 100 && read > 100, "{refused} {read}");
}

#[test]
fn counts_that_lie_are_refused_before_anything_is_made() {
    for level in [0, 1, 255] {
        for width in [1, 2, 4, 8] {
            for dimension in [0, 64, 128, u16::MAX] {
                for count in [1, 2, 1 << 16, 1 << 30, u32::MAX - 1, u32::MAX] {
                    let mut out = Writer::with_capacity(0);
                    out.u8(level).u8(width).u64(1).bytes(&[0; 20]).u16(dimension).u32(count).u32(0);
                    out.bytes(&[0; 4]).bytes(&vec![128; usize::from(dimension)]).bytes(&[0; 3]);
                    assert!(NodeView::decode(&out.finish()).is_none());
                }
            }
        }
    }
}

#[test]
fn fields_that_a_node_has_no_use_for_are_zero() {
    for node in nodes() {
        let (codes, rows) = node.encode().unwrap();
        let with = |at: usize, value: u8| {
            let mut codes = codes.clone();
            codes[at] = value;
            Node::decode(&codes, &rows).is_some()
        };
        // The width and the tag.
        let branch = node.level() > 0;
        assert!(with(1, codes[1]) && with(10, 0));
        assert_eq!(with(10, 1), branch);
        assert!(!branch || !with(1, 4));
    }
}

#[test]
fn what_the_format_cannot_count_is_not_encoded() {
    let centroid = Rounded::round(&vec![1.0; 65_536]);
    let node = Node::Leaf(Leaf::empty(NodeId::ROOT, centroid, WIDTHS[0]));
    assert!(node.encode().is_none());
}
