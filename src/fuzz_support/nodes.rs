//! Nodes of the partition tree: their plaintext, and the way they are sealed and appended to.

use super::{EPOCH, INDEX, Input, edited, secrets};
use crate::id::NodeId;
use crate::store::record::{SealedNode, Sealing, join_node, node_parts, seal_delta, seal_node};
use crate::tree::append::Stub;
use crate::tree::node::{Node, ROW, Row};
use crate::tree::view::{EntriesView, NodeView, fold};

const NODE: NodeId = NodeId(9);

/// The plaintext of nodes: two pieces, codes and rows. What decodes has one encoding, once what was
/// appended is folded in; folding twice is folding once; and every reader of codes agrees.
pub fn node(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (codes, rows) = (input.piece(), input.rest());
    let mut whole = codes.to_vec();
    let folds = fold(&mut whole).is_some();
    if folds && NodeView::decode(&whole).is_some() {
        let mut again = whole.clone();
        assert!(fold(&mut again).is_some() && again == whole, "folding twice is folding once");
    }
    if let Some(view) = NodeView::decode(&whole) {
        let mut centroid = Vec::new();
        view.centroid.expand_into(&mut centroid);
        assert_eq!(centroid.len(), view.centroid.to_rounded().codes.len());
        let stub = Stub::new(&whole, 4096);
        match view.entries {
            EntriesView::Rows(rows) => {
                let (add, rescale, error) = rows.factors();
                assert!([add.len(), rescale.len(), error.len()] == [rows.tags.len(); 3]);
                assert!(view.firsts <= rows.tags.len() && stub.is_some());
            }
            EntriesView::Children(children) => {
                assert_eq!(children.ids().count(), children.radii().count());
                assert!(view.level > 0 && stub.is_none());
            }
        }
    }
    for row in rows.chunks(ROW) {
        assert!(Row::decode(row).is_none_or(|decoded| row.len() == ROW && decoded.parts > 0));
    }
    let Some(node) = Node::decode(codes, rows) else { return };
    let (codes_again, rows_again) = node.encode().expect("it was encoded before");
    assert!(folds && codes_again == whole && rows_again == rows, "a node has one encoding");
}

fn open(node: NodeId, stored: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let node = SealedNode::parse(INDEX, node, stored).ok()?;
    let cipher = node.cipher(&secrets()).ok()?;
    let (mut codes, mut rows) = (Vec::new(), Vec::new());
    node.open_codes(&cipher, &mut codes).ok()?;
    for part in 0..node.row_parts() {
        node.open_rows(&cipher, part, &mut rows).ok()?;
    }
    assert!(node.open_rows(&cipher, node.row_parts(), &mut rows).is_err());
    Some((codes, rows))
}

/// Sealed nodes: what is sealed, cut into values and appended to comes back. Bytes in the place of a
/// node do not open, nor does a changed one, unless what is left is a node of before.
pub fn sealed_node(bytes: &[u8]) {
    // In a place where nothing was sealed: a fuzzer learns from comparisons what was.
    assert!(open(NodeId(10), bytes).is_none());
    let _ = node_parts(bytes);
    let mut input = Input::new(bytes);
    let deltas = input.below(4);
    let limit = match input.u8() {
        short @ 0..128 => 48 + usize::from(short),
        _ => 65_536,
    };
    let mut sealing = Sealing { epoch: 1, generation: 7, salt: [1; 24] };
    let secrets = secrets();
    let (mut codes, mut rows) = (input.piece().to_vec(), input.piece().to_vec());
    let secret = secrets.get(sealing.epoch).expect("a valid epoch");
    let sealed = seal_node(secret, INDEX, NODE, &sealing, &codes, &rows, limit);
    let Some((first, further)) = sealed.as_ref().and_then(|values| values.split_first()) else {
        return assert!(limit < 65_536, "there is room");
    };
    assert!(first.len() <= limit && further.iter().all(|value| value.len() <= limit));
    assert_eq!(node_parts(first), Ok(1 + u32::try_from(further.len()).expect("few")));
    let mut stored = join_node(first, further).expect("they are values of a node");
    let mut states = vec![(stored.clone(), codes.clone(), rows.clone())];
    for number in 0..deltas {
        let parsed = SealedNode::parse(INDEX, NODE, &stored).expect("it is a node");
        let Some(tail) = parsed.tail() else { break };
        let (more_codes, more_rows) = (input.piece(), input.piece());
        sealing = Sealing {
            epoch: EPOCH,
            generation: sealing.generation + 1 + u64::from(number),
            salt: [2 + number; 24],
        };
        let secret = secrets.get(EPOCH).expect("the current epoch");
        let delta = seal_delta(secret, INDEX, NODE, &sealing, &tail, more_codes, more_rows);
        stored.extend(delta.expect("it is short"));
        codes.extend_from_slice(more_codes);
        rows.extend_from_slice(more_rows);
        states.push((stored.clone(), codes.clone(), rows.clone()));
    }
    assert!(open(NODE, &stored) == Some((codes, rows)), "what is sealed comes back");
    let changed = edited(&stored, input.rest());
    let state = states.into_iter().find(|(stored, _, _)| *stored == changed);
    assert!(open(NODE, &changed) == state.map(|(_, codes, rows)| (codes, rows)), "a changed node");
}
