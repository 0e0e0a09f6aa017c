use super::*;
use crate::filter::Span;

fn posting_of(items: u64) -> Block {
    let mut bits = Bits::default();
    assert!((0..items).all(|item| bits.insert(item * 3 % 4096)));
    Block::Posting(bits)
}

fn column_of(items: usize) -> Block {
    let spans = (0..items).map(|item| (item, f64::from(u32::try_from(item).unwrap())));
    column(spans.map(|(item, greatest)| (item, [-1.5, greatest.max(-1.5)])))
}

fn column(spans: impl IntoIterator<Item = (usize, [f64; 2])>) -> Block {
    let mut column = Column::default();
    for (offset, [least, greatest]) in spans {
        assert!(column.set(offset as u64, Some(Span { least, greatest })));
    }
    Block::Column(column)
}

/// Items with one number each: multiples of a step.
fn singles(items: usize, step: f64) -> Block {
    let number = |item| f64::from(u32::try_from(item * 37 % count(COLUMN)).unwrap());
    let spans = (0..items).map(|item| (item, number(item) * step - 3.0));
    let rotated = |item| (item + items % 5) % count(COLUMN);
    column(spans.map(|(item, number)| (rotated(item), [number; 2])))
}

/// Fractions, and whole numbers in 12, 24, 32 and 64 bits.
const STEPS: [f64; 5] = [0.25, 1.0, 65.0, 1_000_000.0, 1e12];

#[test]
fn a_column_is_compared_as_its_spans_are() {
    let bounds = [
        "0",
        "-3",
        "21.25",
        "1e300",
        "-1e300",
        "9007199254740993",
        "-0.0",
        "1e-20",
        "-3.5",
        "61",
        "66",
        "4092",
        "4093",
        "266172",
        "266172.5",
        "18446744073709551615",
        "4094999997",
        "4094999998",
        "-2.0",
    ];
    let mut blocks = vec![column_of(3), column_of(60), column_of(300)];
    for step in STEPS {
        blocks.extend([64, 257, count(COLUMN)].map(|items| singles(items, step)));
    }
    // Zeros of both signs, and numbers that floats skip some beside.
    let odd: [f64; 7] =
        [-0.0, 0.0, 1e300, -1e300, 9_007_199_254_740_992.0, 9_007_199_254_740_994.0, -3.5];
    let odd = (0..300).zip(odd.into_iter().cycle());
    blocks.push(column(odd.map(|(item, number)| (item, [number.min(0.0), number.max(0.0)]))));
    blocks.push(column((0..300u16).map(|item| ((item * 13).into(), [-4.0, item.into()]))));
    for block in blocks {
        let plain = block.encode(5).unwrap();
        let Block::Column(column) = &block else { panic!() };
        for bound in bounds {
            let bound: Number = serde_json::from_str(bound).unwrap();
            for than in [Than::Gt, Than::Gte, Than::Lt, Than::Lte] {
                let mut found = Vec::new();
                let mut take = |place: u64, bits: u64| {
                    let bits = (0..64).filter(|bit| bits >> bit & 1 == 1);
                    found.extend(bits.map(|bit| place * 64 + bit));
                };
                assert!(passing(5, &plain, than, &bound, &mut take));
                let spans = column.spans().into_iter();
                let passes = spans.filter(|(_, span)| span.passes(than, &bound));
                assert!(passes.map(|(offset, _)| u64::from(offset)).eq(found), "{bound}");
                assert!(!passing(6, &plain, than, &bound, &mut |_, _| ()));
            }
        }
    }
}

#[test]
fn whole_numbers_close_together_are_narrow() {
    let length = |numbers: [f64; 2]| {
        let mut spans = vec![[numbers[0]; 2]; count(COLUMN)];
        spans[7] = [numbers[1]; 2];
        let block = column(spans.into_iter().enumerate());
        let plain = block.encode(1).unwrap();
        assert_eq!(Block::decode(Kind::Column, 1, &plain), Some(block));
        (plain.len() - 532) / 512
    };
    let most = 9_007_199_254_740_992.0;
    for (numbers, bits) in [
        ([5.0, 260.0], 8),
        ([5.0, 261.0], 12),
        ([4100.0, 5.0], 12),
        ([4101.0, 5.0], 16),
        ([5.0, 65540.0], 16),
        ([5.0, 65541.0], 24),
        ([5.0, 16_777_220.0], 24),
        ([5.0, 16_777_221.0], 32),
        ([-1.0, 4_294_967_294.0], 32),
        ([-1.0, 4_294_967_295.0], 64),
        ([most, most - 3.0], 8),
        ([-most, -most + 3.0], 8),
        ([most * 2.0, most * 2.0], 64),
        ([1.0, 1.5], 64),
        ([1.0, -0.0], 64),
        ([1.0, 0.0], 8),
    ] {
        assert_eq!(length(numbers), bits, "{numbers:?}");
    }
}

/// What some items get, by their places.
type Changes<'a> = &'a [(usize, Option<[f64; 2]>)];

#[test]
fn a_column_that_was_changed_is_as_one_made_so() {
    // Each change leaves room for one that is narrower or wider than what is there.
    let base = || (0..300u16).map(|item| (item.into(), [f64::from(item); 2]));
    let changes: [Changes<'_>; 9] = [
        &[(7, Some([7.0, 8.0]))],
        &[(0, None)],
        &[(299, None), (298, None), (297, None)],
        &[(5, Some([-9.0, -9.0]))],
        &[(3000, Some([4e9, 4e9]))],
        &[(8, Some([0.5, 0.5]))],
        &[(9, Some([-0.0, 0.0]))],
        &[(10, Some([1e18, 1e18]))],
        &(0..60).map(|item| (item, None)).collect::<Vec<_>>(),
    ];
    for first in changes {
        let mut spans: std::collections::BTreeMap<usize, [f64; 2]> = base().collect();
        // As it is stored, so that it is changed where it is.
        let stored = column(base()).encode(3).unwrap();
        let Some(Block::Column(mut changed)) = Block::decode(Kind::Column, 3, &stored) else {
            panic!();
        };
        let undo = first.iter().map(|(item, _)| (*item, spans.get(item).copied()));
        for (item, numbers) in first.iter().copied().chain(undo.collect::<Vec<_>>()) {
            let span = numbers.map(|[least, greatest]| Span { least, greatest });
            assert!(changed.set(item as u64, span));
            match numbers {
                Some(numbers) => spans.insert(item, numbers),
                None => spans.remove(&item),
            };
            let made = column(spans.clone());
            let block = Block::Column(changed.clone());
            assert!(block == made && block.encode(3) == made.encode(3), "{item} {numbers:?}");
        }
    }
    assert!(!Column::default().set(COLUMN, None), "of another block");
}

#[test]
fn blocks_decode_only_from_their_own_bytes() {
    let mut directory = vec![[0; 16]; 64];
    directory[63] = [9; 16];
    let all = [
        (Kind::Posting, posting_of(1)),
        (Kind::Posting, posting_of(64)),
        (Kind::Posting, posting_of(65)),
        (Kind::Posting, posting_of(1365)),
        (Kind::Directory, Block::Directory(directory)),
        (Kind::Column, column_of(1)),
        (Kind::Column, column_of(256)),
        (Kind::Column, column_of(257)),
        (Kind::Column, column_of(count(COLUMN))),
        (Kind::Column, singles(600, 0.25)),
        (Kind::Column, singles(600, 1.0)),
        (Kind::Column, singles(600, 4e5)),
        (Kind::Column, column((0..300).map(|item| (item, [-0.0, 0.0])))),
    ];
    for (kind, block) in all {
        let plain = block.encode(7).unwrap();
        assert_eq!(Block::decode(kind, 7, &plain), Some(block));
        assert_eq!(Block::decode(kind, 8, &plain), None, "another block");
        for length in 0..plain.len() {
            assert_eq!(Block::decode(kind, 7, &plain[..length]), None);
        }
        assert_eq!(Block::decode(kind, 7, &[&plain[..], &[0]].concat()), None);
    }
}

#[test]
fn blocks_that_nobody_writes_are_refused() {
    for kind in [Kind::Posting, Kind::Directory, Kind::Column] {
        assert_eq!(Block::empty(kind).encode(0), None, "nothing is not stored");
    }
    assert_eq!(Block::decode(Kind::Directory, 0, &[0; 8 + 64 * 16]), None, "no item");
    let block = |rest: &[u8]| [&[0; 8], rest].concat();
    let posting = |items: [u16; 5]| {
        let bytes: Vec<u8> = items.iter().flat_map(|item| item.to_be_bytes()).collect();
        Block::decode(Kind::Posting, 0, &block(&bytes))
    };
    assert!(posting([2, 5, 6, 0, 0]).is_some());
    for bad in
        [[0, 0, 0, 0, 0], [2, 6, 5, 0, 0], [2, 5, 5, 0, 0], [1, 4096, 0, 0, 0], [1, 5, 6, 0, 0]]
    {
        assert_eq!(posting(bad), None, "{bad:?}");
    }
    let mut bitmap = vec![0; 514];
    bitmap[1] = 65;
    bitmap[2..11].fill(0xff);
    assert_eq!(Block::decode(Kind::Posting, 0, &block(&bitmap)), None, "72 bits, not 65");
    // Of 64 bits; a sign that is not of any number there is makes the first of them none.
    let mut full = singles(300, 0.25).encode(0).unwrap();
    assert!(Block::decode(Kind::Column, 0, &full).is_some());
    for bit in 52..64 {
        full[532 + bit * 512] |= 1;
    }
    assert_eq!(Block::decode(Kind::Column, 0, &full), None, "infinite, or not a number");
    let narrow = singles(300, 1.0).encode(0).unwrap();
    for (place, mask, what) in [
        (9, 1, "one item more than there are"),
        (522, 1, "two"),
        (522, 2, "neither one nor two"),
        (523, 1, "a width that is none"),
        (530, 1, "a base that is not whole"),
        (532 + 300, 1, "a number of an item that is absent"),
    ] {
        let mut bad = narrow.clone();
        bad[place] ^= mask;
        assert_eq!(Block::decode(Kind::Column, 0, &bad), None, "{what}");
    }
    let without = |plane: std::ops::Range<usize>| {
        let mut bad = narrow.clone();
        for plane in plane {
            bad[532 + plane * 512..][..512].fill(0);
        }
        Block::decode(Kind::Column, 0, &bad)
    };
    assert!(without(0..1).is_some(), "even numbers are as good");
    assert_eq!(without(8..12), None, "no number is so high that it takes 12 bits");
    let mut raised = narrow.clone();
    let present: Vec<u8> = raised[10..522].to_vec();
    raised[532..1044].copy_from_slice(&present);
    assert_eq!(Block::decode(Kind::Column, 0, &raised), None, "the base is no number of it");
    let mut two = column((0..300).map(|item| (item, [0.0, 200.0]))).encode(0).unwrap();
    assert!(Block::decode(Kind::Column, 0, &two).is_some());
    let (least, greatest) = two[532..].split_at_mut(8 * 512);
    least.swap_with_slice(greatest);
    assert_eq!(Block::decode(Kind::Column, 0, &two), None, "the least is the greatest");
    let nan = column_of(1).encode(0).map(|mut plain| {
        plain[12..20].copy_from_slice(&f64::NAN.to_be_bytes());
        plain
    });
    assert_eq!(Block::decode(Kind::Column, 0, &nan.unwrap()), None);
}

#[test]
fn sizes_are_few() {
    let sizes = |blocks: Vec<Block>| {
        let mut sizes: Vec<usize> =
            blocks.iter().map(|block| block.encode(0).unwrap().len()).collect();
        sizes.dedup();
        sizes
    };
    let some = |make: &dyn Fn(usize) -> Block| -> Vec<Block> {
        (1..=count(COLUMN)).step_by(3).map(make).collect()
    };
    assert_eq!(sizes((1..1365).map(posting_of).collect()), [18, 42, 138, 522]);
    assert_eq!(sizes(some(&column_of)), [154, 1162, 4618, 66068]);
    for (step, full) in STEPS.into_iter().zip([33300, 6676, 12820, 16916, 33300]) {
        let blocks = some(&|items| singles(items, step));
        assert_eq!(sizes(blocks), [154, 1162, 4618, full], "{step}");
    }
}
