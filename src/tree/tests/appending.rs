//! Rows appended to leaves: a leaf reads as if it had been written whole.

use super::{METRICS, Random, Store, WIDTHS, folded, small};
use crate::id::NodeId;
use crate::tree::Rules;
use crate::tree::append::encode;
use crate::tree::node::{Leaf, Node};
use crate::tree::view::fold;
use crate::vector::Metric;

/// A store with leaves of several rows, and what comes next out of its random numbers.
fn grown(metric: Metric, rules: Rules) -> (Store, Random) {
    let mut random = Random(9);
    let vectors: Vec<_> = (0..150).map(|_| random.vector(40)).collect();
    (Store::filled(metric, rules, &vectors, 75), random)
}

/// Some rows of a leaf as one of their own.
fn part(leaf: &Leaf, rows: std::ops::Range<usize>) -> Leaf {
    let size = leaf.code_bytes();
    let mut part = Leaf::empty(leaf.parent, leaf.centroid.clone(), leaf.width);
    for at in rows {
        let code = &leaf.codes[at * size..(at + 1) * size];
        part.push(leaf.rows[at].clone(), code, leaf.factors[at]);
    }
    Leaf { span: leaf.span, ..part }
}

#[test]
fn a_folded_leaf_is_the_leaf_written_whole() {
    for (width, metric) in WIDTHS.into_iter().zip(METRICS.into_iter().cycle()) {
        let (store, _) = grown(metric, Rules { width, ..small(16, 4) });
        for id in store.leaves() {
            let Node::Leaf(leaf) = store.node(id) else { panic!("a leaf") };
            let whole = Node::Leaf(leaf.clone()).encode().unwrap();
            let all = leaf.rows.len();
            assert!(all > 0);
            for mut seams in [vec![0], vec![all], vec![0, 1, 1, 3], vec![all / 2], vec![1, 2, 3]] {
                seams.retain(|seam| *seam <= all);
                let (mut codes, mut rows) = Node::Leaf(part(&leaf, 0..seams[0])).encode().unwrap();
                let ends = seams[1..].iter().chain([&all]);
                for (from, to) in seams.iter().zip(ends) {
                    let (more_codes, more_rows) = encode(&part(&leaf, *from..*to)).unwrap();
                    codes.extend(more_codes);
                    rows.extend(more_rows);
                }
                let read = Node::decode(&codes, &rows).unwrap().encode().unwrap();
                assert_eq!(read, whole, "{seams:?} of {all}");
                let unfolded = codes.clone();
                fold(&mut codes).unwrap();
                assert_eq!((&codes, &rows), (&whole.0, &whole.1));
                // It stays what it is.
                fold(&mut codes).unwrap();
                assert_eq!(codes, whole.0);
                for length in 0..unfolded.len() {
                    let mut cut = unfolded[..length].to_vec();
                    let sound = fold(&mut cut).is_some() && Node::decode(&cut, &rows).is_some();
                    // Unless what is cut off is a block without rows.
                    assert!(!sound || cut == whole.0, "cut to {length}");
                }
            }
        }
    }
}

#[test]
fn one_new_item_changes_its_leaves_at_their_ends_only() {
    for metric in METRICS {
        let (mut store, mut random) = grown(metric, small(16, 4));
        let (start, mut appended, mut whole) = (store.appended, 0, 0);
        for number in 1000..1100 {
            let before = store.nodes.clone();
            store.write(&[], &[(number, random.vector(40))]).unwrap();
            store.check().unwrap();
            for (id, (codes, rows)) in &before {
                let Some((new_codes, new_rows)) = store.nodes.get(id) else { continue };
                let grew = new_codes.starts_with(codes) && new_rows.starts_with(rows);
                match (new_codes == codes, grew && !rows.is_empty()) {
                    (true, _) => {}
                    (false, true) => appended += 1,
                    (false, false) => whole += 1,
                }
            }
        }
        assert!(appended > 100 && whole > 10, "{metric}: {appended} {whole}");
        assert_eq!(store.appended - start, appended);
    }
}

#[test]
fn an_item_that_goes_takes_its_appended_rows_along() {
    let (mut store, mut random) = grown(Metric::Euclidean, small(16, 4));
    for number in 1000..1040 {
        let appended = store.appended;
        store.write(&[], &[(number, random.vector(40))]).unwrap();
        if store.appended == appended {
            continue;
        }
        let home = store.items[&super::pseudonym(number)].home.leaves();
        store.write(&[number], &[]).unwrap();
        store.check().unwrap();
        for leaf in home {
            let Some((codes, _)) = store.nodes.get(&leaf) else { continue };
            assert_eq!(folded(codes), *codes, "written whole");
            assert!(!store.deltas.contains_key(&leaf));
        }
    }
    assert!(store.appended > 10);
}

#[test]
fn a_branch_and_a_leaf_without_blocks_stay_as_they_are() {
    let (store, _) = grown(Metric::Cosine, small(16, 4));
    assert!(!store.leaves().contains(&NodeId::ROOT));
    for id in store.nodes.keys() {
        let (codes, _) = store.node(*id).encode().unwrap();
        assert_eq!(folded(&codes), codes);
    }
}
