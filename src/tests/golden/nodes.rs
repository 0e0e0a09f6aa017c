//! Nodes of the partition tree: rotated vectors, packed codes, segments, and sealed values.
//!
//! Numbers are small multiples of powers of two where the format does not ask for rounding, so that
//! any correct reader comes to the same bits.

use super::{EPOCH, Inputs, Lines, VECTOR, ramp};
use crate::crypto::kdf::{Names, Place, Purpose};
use crate::id::{ItemNumber, NodeId};
use crate::store::key::{self, Kind};
use crate::store::record::{SealedNode, Sealing, join_node, seal_delta, seal_node};
use crate::tree::append;
use crate::tree::node::{Branch, Copy, Entries, Leaf, Node, Row};
use crate::tree::view::fold;
use crate::vector::kernels::codes::{self, Width};
use crate::vector::rabitq::Factors;
use crate::vector::rotation::Rotation;
use crate::vector::scalar::Rounded;

/// Components of the leaf and the branch: two blocks.
const PADDED: usize = 128;
const LEAF: NodeId = NodeId(258);
const BRANCH: NodeId = NodeId(3);

pub(super) fn put(lines: &mut Lines, inputs: &Inputs) {
    put_rotation(lines, inputs);
    put_codes(lines);
    let (leaf, branch) = put_segments(lines);
    put_sealed(lines, inputs, &leaf, &branch);
    put_deltas(lines, inputs, &leaf);
}

fn put_rotation(lines: &mut Lines, inputs: &Inputs) {
    lines.section(
        "The seed of the rotation, and what names input.read_secret.2 in the cache. input.vector\n\
         rotated (f32, little-endian), and a vector of 130 components: (i % 7 - 3) / 4.",
    );
    let seed = Names::new(&inputs.secrets.name).rotation_seed();
    lines.put("rotation_seed", seed);
    lines.put("fingerprint", inputs.read.fingerprint(inputs.index));
    let long: Vec<f32> = (0..130u8).map(|i| (f32::from(i % 7) - 3.0) / 4.0).collect();
    for (name, vector) in [("rotated.3", &VECTOR[..]), ("rotated.130", &long)] {
        let mut rotated = Vec::new();
        Rotation::new(&seed, vector.len()).apply(vector, &mut rotated);
        lines.put(name, rotated.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
}

/// Component `i` of row `row`, of which the low bits count.
fn component(i: usize, row: usize) -> u8 {
    u8::try_from((i * (3 + row) / 2) % 256).unwrap()
}

fn code(width: Width, row: usize) -> Vec<u8> {
    let mask = u8::try_from((1u32 << width.bits()) - 1).unwrap();
    let values: Vec<u8> = (0..PADDED).map(|i| component(i, row) & mask).collect();
    let mut out = Vec::new();
    codes::pack(width, &values, &mut out);
    out
}

fn put_codes(lines: &mut Lines) {
    lines.section(
        "Packed codes of 128 components, by bits a component: component i is the low bits of\n\
         i * 3 / 2.",
    );
    for width in [Width::One, Width::Two, Width::Four, Width::Eight] {
        lines.put(&format!("code.{}", width.bits()), code(width, 0));
    }
}

/// Component `i` is `1 + (7 i + first) % 255`.
fn centroid(first: usize, scale: f32) -> Rounded {
    let code = |i| u8::try_from(1 + (7 * i + first) % 255).unwrap();
    Rounded { scale, codes: (0..PADDED).map(code).collect() }
}

/// A leaf with these rows.
fn leaf(rows: &[(u8, Copy)]) -> Leaf {
    let mut leaf = Leaf::empty(BRANCH, centroid(5, 0.25), Width::Two);
    for &(number, copy) in rows {
        let row = Row {
            pseudonym: ramp(0x70 + number),
            number: ItemNumber(6 + u64::from(number)),
            version: 258,
            epoch: EPOCH,
            parts: 1 + u16::from(number),
            copy,
            salt: ramp(0x30 + number),
        };
        let at = f32::from(number);
        let factors = Factors { add: at + 0.5, rescale: -at, error: 0.125, norm: at + 2.0 };
        leaf.push(row, &code(Width::Two, usize::from(number)), factors);
    }
    leaf
}

const STORED: [(u8, Copy); 2] = [(0, Copy::First), (1, Copy::Second)];

fn branch() -> Branch {
    let mut children = Entries::default();
    for (number, radius) in [(LEAF, 3.0), (NodeId(4), f32::INFINITY), (NodeId(5), 0.0)] {
        let first = usize::try_from(number.0).unwrap();
        children.push(number, &centroid(first, 0.5), radius);
    }
    let centroid = centroid(9, 0.0625);
    Branch { parent: NodeId::ROOT, level: 1, centroid, span: 0.5, tag: ramp(0x90), children }
}

/// A node's two segments.
type Segments = (Vec<u8>, Vec<u8>);

fn put_segments(lines: &mut Lines) -> (Segments, Segments) {
    lines.section(
        "A leaf: parent 3, two bits, 128 components; its centroid has the step 0.25 and the bytes\n\
         1 + (7 i + 5) % 255. Row n, from 0: component i of its code is the low bits of i * (3 + n) / 2,\n\
         add n + 0.5, rescale -n, error 0.125, norm n + 2; pseudonym 70+n.., item number 6 + n, version\n\
         258, epoch 2, 1 + n values, copy n, salt 30+n.. (hex).",
    );
    let leaf = Node::Leaf(leaf(&STORED)).encode().unwrap();
    lines.put("leaf.codes", &leaf.0);
    lines.put("leaf.rows", &leaf.1);
    lines.section(
        "A branch: parent 0, level 1, tag 90..9f, a centroid with the step 0.0625 and the bytes\n\
         1 + (7 i + 9) % 255. Children 258, 4 and 5 with the radii 3, infinity and 0; the centroid of\n\
         child c has the step 0.5 and the bytes 1 + (7 i + c) % 255.",
    );
    let branch = Node::Branch(branch()).encode().unwrap();
    lines.put("branch.codes", &branch.0);
    assert_eq!(branch.1, b"");
    for (codes, rows) in [&leaf, &branch] {
        let read = Node::decode(codes, rows).unwrap().encode().unwrap();
        assert_eq!((&read.0, &read.1), (codes, rows));
    }
    (leaf, branch)
}

fn put_sealed(lines: &mut Lines, inputs: &Inputs, leaf: &Segments, branch: &Segments) {
    lines.section(
        "The key of a node from input.read_secret.2 and input.salt: format 4, index id, epoch 2, kind\n\
         30, id 258, version 258.",
    );
    let place = Place {
        format: 4,
        index: inputs.index,
        epoch: EPOCH,
        kind: Kind::Node as u8,
        id: key::number_id(LEAF.0),
        version: 258,
    };
    lines.put("node.place", place.bytes());
    lines.put("single_use.node", *inputs.read.single_use(Purpose::Node, &place, &ramp(0xd0)));

    lines.section(
        "Stored nodes, all of generation 258: the leaf as node 258 under the salt 08..1f, the branch\n\
         as node 3 under 09..20, and as node 7, under 0a..21, the leaf's codes with 2,100 bytes of rows\n\
         that count up from 0 (mod 251), in values of at most 700 bytes.",
    );
    let long: Vec<u8> = (0..2100u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    for (name, node, first, (codes, rows), limit) in [
        ("leaf", LEAF, 0x08, leaf, 65_536),
        ("branch", BRANCH, 0x09, branch, 65_536),
        ("cut", NodeId(7), 0x0a, &(leaf.0.clone(), long), 700),
    ] {
        let sealing = Sealing { epoch: EPOCH, generation: 258, salt: ramp(first) };
        let values =
            seal_node(&inputs.read, inputs.index, node, &sealing, codes, rows, limit).unwrap();
        assert_eq!(values.len() > 1, name == "cut");
        for (part, value) in (0u32..).zip(&values) {
            lines.put(&format!("node.{name}.key.{part}"), key::node(inputs.index, node, part));
            lines.put(&format!("node.{name}.{part}"), value);
        }
        let whole = join_node(&values[0], &values[1..]).unwrap();
        let sealed = SealedNode::parse(inputs.index, node, whole).unwrap();
        let cipher = sealed.cipher(&inputs.epochs()).unwrap();
        let (mut opened_codes, mut opened_rows) = (Vec::new(), Vec::new());
        sealed.open_codes(&cipher, &mut opened_codes).unwrap();
        for part in 0..sealed.row_parts() {
            sealed.open_rows(&cipher, part, &mut opened_rows).unwrap();
        }
        assert_eq!((&opened_codes, &opened_rows), (codes, rows));
    }
}

fn put_deltas(lines: &mut Lines, inputs: &Inputs, stored: &Segments) {
    lines.section(
        "The leaf as node 258 under the salt 08..1f, to which two deltas were appended: row 2, a first\n\
         copy, with generation 259 and the salt 0b..22, then rows 3, a second copy, and 4, a first one,\n\
         with generation 261 and the salt 0c..23. Last, the codes as one segment.",
    );
    let (codes, rows) = stored;
    let sealing = |generation, first| Sealing { epoch: EPOCH, generation, salt: ramp(first) };
    let whole = sealing(258, 0x08);
    let values = seal_node(&inputs.read, inputs.index, LEAF, &whole, codes, rows, 65_536).unwrap();
    let (mut value, mut all, mut opened_rows) = (values[0].clone(), STORED.to_vec(), Vec::new());
    let deltas = [
        (sealing(259, 0x0b), &[(2, Copy::First)][..]),
        (sealing(261, 0x0c), &[(3, Copy::Second), (4, Copy::First)]),
    ];
    for (number, (sealing, new)) in deltas.into_iter().enumerate() {
        let tail = SealedNode::parse(inputs.index, LEAF, &value).unwrap().tail().unwrap();
        let (codes, rows) = append::encode(&leaf(new)).unwrap();
        let (read, index) = (&inputs.read, inputs.index);
        let delta = seal_delta(read, index, LEAF, &sealing, &tail, &codes, &rows).unwrap();
        lines.put(&format!("block.{number}"), &codes);
        lines.put(&format!("delta.{number}"), &delta);
        value.extend(delta);
        all.extend_from_slice(new);
    }
    let sealed = SealedNode::parse(inputs.index, LEAF, &value).unwrap();
    let cipher = sealed.cipher(&inputs.epochs()).unwrap();
    let mut opened_codes = Vec::new();
    sealed.open_codes(&cipher, &mut opened_codes).unwrap();
    fold(&mut opened_codes).unwrap();
    for part in 0..sealed.row_parts() {
        sealed.open_rows(&cipher, part, &mut opened_rows).unwrap();
    }
    let expected = Node::Leaf(leaf(&all)).encode().unwrap();
    assert_eq!((&opened_codes, &opened_rows), (&expected.0, &expected.1));
    lines.put("leaf.folded", opened_codes);
}
