//! Blocks of the attribute index, and the small records of the catalog.

use serde_json::Number;

use super::Input;
use crate::attributes::block::{Block, passing};
use crate::codec::Reader;
use crate::commit;
use crate::filter::{Span, Than};
use crate::store::key::Kind;
use crate::store::owed::{Debt, Made, Owed, Parts};

pub(super) const KINDS: [Kind; 3] = [Kind::Posting, Kind::Directory, Kind::Column];

/// Attribute blocks: what decodes has one encoding, and is of one block only; a
/// column is compared with numbers as its spans are. The first byte is the kind.
pub fn attributes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, plain) = (input.below(3), input.rest());
    let Some(kind) = KINDS.get(usize::from(kind)).copied() else { return };
    let Some(number) = Reader::new(plain).u64() else { return };
    assert_eq!(Block::decode(kind, number ^ 1, plain), None, "another block");
    let Some(block) = Block::decode(kind, number, plain) else { return };
    assert!(block.encode(number).as_deref() == Some(plain), "a block has one encoding");
    assert_ne!(block, Block::empty(kind));
    if let Block::Column(column) = &block {
        compared(number, plain, &column.spans());
    }
    if let Block::Posting(bits) = block {
        let offsets: Vec<u64> = bits.iter().collect();
        assert_eq!(offsets.len() as u64, bits.len());
        assert!(offsets.is_sorted() && offsets.iter().all(|offset| bits.contains(*offset)));
    }
}

/// The fast comparison of a column says what that of its spans says.
fn compared(number: u64, plain: &[u8], spans: &[(u16, Span)]) {
    let [Some(three), Some(half)] = [3.0, -0.5].map(Number::from_f64) else { return };
    for bound in [Number::from(0), Number::from(u64::MAX), three, half] {
        for than in [Than::Gt, Than::Gte, Than::Lt, Than::Lte] {
            let mut found = Vec::new();
            let mut take = |place: u64, bits: u64| {
                let set = (0..64).filter(|bit| bits >> bit & 1 == 1);
                found.extend(set.map(|bit| place * 64 + bit));
            };
            assert!(passing(number, plain, than, &bound, &mut take));
            let expected = spans.iter().filter(|(_, span)| span.passes(than, &bound));
            assert!(expected.map(|(offset, _)| u64::from(*offset)).eq(found));
        }
    }
}

/// The records that are not sealed: what decodes has one encoding, and what is owed is settled
/// whatever it is.
pub fn owed(bytes: &[u8]) {
    if let Ok(made) = Made::decode(bytes) {
        assert!(made.encode() == bytes, "a checkpoint record has one encoding");
    }
    if let Ok(sequence) = commit::head_sequence(bytes) {
        assert!(commit::head_value(sequence) == bytes, "a head record has one encoding");
    }
    let decoded = Owed::decode(bytes);
    let owed = Owed::read(Some(bytes));
    match &decoded {
        Ok(decoded) => assert!(decoded.encode() == bytes && *decoded == owed),
        Err(_) => assert_eq!(owed.parts(), Parts::ALL, "what cannot be read is all owed"),
    }
    let mut settled = owed;
    settled.settle(Parts::ALL, &owed, u64::MAX);
    assert!(settled.parts().is_none());
    let mut more = owed;
    more.add(Parts::RECORDS, Debt { since: 5, last: u64::MAX, at_once: false });
    let kept = more;
    more.settle(Parts::ALL, &owed, 6);
    let same = owed.debts().any(|(part, debt)| part == Parts::RECORDS && debt.last == u64::MAX);
    assert_eq!(more.parts().is_none(), same, "what came later stays owed");
    assert!(kept.parts().has(owed.parts()));
}
