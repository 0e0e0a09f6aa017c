//! What parents know of how wide their children are.

use super::{Random, Store, pseudonym, small};
use crate::id::NodeId;
use crate::tree::Rules;
use crate::tree::node::{Branch, Copy, Entries, Leaf, Node, Row, coarse, pooled};
use crate::tree::plan::Placed;
use crate::tree::squared_distance;
use crate::vector::Metric;
use crate::vector::kernels::codes::Width;
use crate::vector::rabitq::Factors;
use crate::vector::scalar::Rounded;

fn vectors(seed: u64, count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    (0..count).map(|_| random.vector(40)).collect()
}

/// From the vectors themselves: the root mean square distance of a leaf's first copies.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn measured(store: &Store, leaf: &Leaf) -> f32 {
    let centroid = leaf.centroid.expand();
    let square = |row: &Row| {
        let vector = store.space.place(&store.items[&row.pseudonym].vector);
        squared_distance(&vector, &centroid)
    };
    let firsts = leaf.rows.iter().filter(|row| row.copy == Copy::First);
    (firsts.map(square).sum::<f32>() / leaf.firsts() as f32).sqrt()
}

/// Of each leaf: what its parent knows, and what is so.
fn known(store: &Store) -> Vec<(f32, f32)> {
    let entry = |id: NodeId| {
        let Node::Leaf(leaf) = store.node(id) else { unreachable!("a leaf") };
        let Node::Branch(twig) = store.node(leaf.parent) else { unreachable!("a branch") };
        let at = twig.children.position(id).unwrap();
        (twig.children.radii[at], measured(store, &leaf))
    };
    store.leaves().into_iter().map(entry).collect()
}

/// A row with this number at this distance of the centroid.
fn push(leaf: &mut Leaf, number: u64, copy: Copy, norm: f32) {
    let row = Store::new(Metric::Euclidean, 64, small(8, 4)).row(number);
    let factors = Factors { add: 0.0, rescale: 0.0, error: 0.0, norm };
    leaf.push(Row { copy, ..row }, &[0; 8], factors);
}

fn leaf(norms: impl IntoIterator<Item = f32>) -> Leaf {
    let centroid = Rounded::round(&[0.0; 64]);
    let mut leaf = Leaf::empty(NodeId::ROOT, centroid, Width::One);
    (0..).zip(norms).for_each(|(number, norm)| push(&mut leaf, number, Copy::First, norm));
    leaf
}

#[test]
fn a_leaf_is_as_wide_as_its_first_copies_are_far() {
    let mut of = leaf([3.0, 4.0, 5.0, 14.0_f32.sqrt()]);
    assert!((Node::Leaf(of.clone()).radius() - 4.0).abs() < 1e-6);
    push(&mut of, 9, Copy::Second, 100.0);
    assert!((Node::Leaf(of.clone()).radius() - 4.0).abs() < 1e-6);
    push(&mut of, 9, Copy::First, 1e30);
    assert!(Node::Leaf(of.clone()).radius() > 1e29);
    push(&mut of, 9, Copy::First, f32::INFINITY);
    assert!(Node::Leaf(of).radius().is_infinite());
    assert!(Node::Leaf(leaf([])).radius().abs() < f32::MIN_POSITIVE);
}

#[test]
fn a_branch_is_as_wide_as_its_children_are_apart_and_wide() {
    let at = |x: f32| Rounded::round(&[[x].as_slice(), &[0.0; 63]].concat());
    let mut children = Entries::default();
    for (id, x, radius) in [(1, -3.0, 1.0), (2, 3.0, 1.0), (3, 0.0, 5.0)] {
        children.push(NodeId(id), &at(x), radius);
    }
    let (centroid, tag) = (at(0.0), [0; 16]);
    let branch = Branch { parent: NodeId::ROOT, level: 1, centroid, span: 0.0, tag, children };
    // (9 + 1 + 9 + 1 + 25) / 3
    assert_eq!(Node::Branch(branch).radius().to_bits(), coarse(15.0_f32.sqrt()).to_bits());
}

#[test]
fn a_radius_is_rounded_to_a_sixteenth_or_less() {
    for (of, to) in
        [(1.0, 1.0), (1.03, 1.0), (1.032, 1.0625), (1.98, 2.0), (0.0, 0.0), (3.1, 3.125)]
    {
        assert_eq!(coarse(of).to_bits(), f32::to_bits(to), "{of}");
    }
    for nothing in [f32::NAN, f32::MAX, f32::INFINITY, f32::from_bits(0x7fff_ffff)] {
        assert_eq!(coarse(nothing).to_bits(), f32::INFINITY.to_bits());
    }
    // In the middle of a step one item among thirty does not show, near or far.
    let without = leaf([1.25; 30]);
    let shows = (0..100u8).filter(|at| {
        let mut with = without.clone();
        push(&mut with, 30, Copy::First, f32::from(*at) / 57.0);
        Node::Leaf(with).radius().to_bits() != Node::Leaf(without.clone()).radius().to_bits()
    });
    assert_eq!(shows.count(), 0);
}

#[test]
fn parents_of_leaves_know_how_wide_they_are_whatever_was_added() {
    for metric in [Metric::Cosine, Metric::Euclidean] {
        for batch in [1, 7, 200] {
            let rules = Rules { leaf_least: 4, ..small(24, 6) };
            let store = Store::filled(metric, rules, &vectors(3, 600), batch);
            assert!(batch != 1 || store.appended > 100);
            for (known, measured) in known(&store) {
                // Off by what was no news, what was rounded, and what was appended since.
                assert!((0.8..1.25).contains(&(known / measured)), "{known} {measured}");
            }
        }
    }
}

#[test]
fn together_leaves_are_as_wide_as_their_items_are_far() {
    // (3 * 4 + 1 * 36) / 4
    assert_eq!(pooled(&[(3, 2.0), (1, 6.0)]).to_bits(), coarse(12.0_f32.sqrt()).to_bits());
    assert_eq!(pooled(&[(0, 9.0), (2, 4.0)]).to_bits(), 4.0_f32.to_bits());
}

#[test]
fn an_empty_leaf_that_is_appended_to_is_as_wide_as_what_is_new() {
    let sample = vectors(6, 600);
    let mut store = Store::new(Metric::Euclidean, 40, small(8, 4));
    let placed: Vec<Placed> = sample.iter().map(|v| store.space.place(v).into()).collect();
    store.plan(|plan| plan.skeleton(&placed, 600)).unwrap();
    for (number, vector) in (0..).zip(&sample[..100]) {
        store.write(&[], &[(number, vector.clone())]).unwrap();
    }
    assert!(store.appended > 50);
    let mut filled = 0;
    for (known, measured) in known(&store).into_iter().filter(|(_, measured)| measured.is_finite())
    {
        assert!((0.8..1.25).contains(&(known / measured)), "{known} {measured}");
        filled += 1;
    }
    assert!(filled > 20);
}

#[test]
fn a_parent_is_told_what_is_news_and_left_alone_otherwise() {
    let all = vectors(4, 300);
    for (scale, told) in [(1.5, true), (0.6, true), (f32::INFINITY, true), (1.0, false)] {
        let mut store = Store::filled(Metric::Euclidean, small(48, 6), &all, 300);
        let id = store.items[&pseudonym(5)].home.first;
        let Node::Leaf(leaf) = store.node(id) else { unreachable!("a leaf") };
        let Node::Branch(mut twig) = store.node(leaf.parent) else { unreachable!("a branch") };
        let at = twig.children.position(id).unwrap();
        let is = Node::Leaf(leaf.clone()).radius();
        let off = if told { coarse(is * scale) } else { is.next_up() };
        twig.children.radii[at] = off;
        store.put(leaf.parent, &Node::Branch(twig));
        let before = store.nodes[&leaf.parent].clone();
        // The same item again, so that its leaf is written whole and nothing else is new.
        store.write(&[], &[(5, all[5].clone())]).unwrap();
        let Node::Branch(twig) = store.node(leaf.parent) else { unreachable!("a branch") };
        let known = twig.children.radii[at];
        assert_eq!(known.to_bits(), if told { is } else { off }.to_bits(), "{scale}");
        assert_eq!(store.nodes[&leaf.parent] == before, !told, "{scale}");
    }
}
