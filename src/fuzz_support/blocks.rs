//! Blocks of the attribute index, and the small records of the catalog.

use super::Input;
use crate::attributes::block::Block;
use crate::codec::Reader;
use crate::commit;
use crate::store::key::Kind;
use crate::store::owed::{Debt, Made, Owed, Parts};

pub(super) const KINDS: [Kind; 3] = [Kind::Posting, Kind::Directory, Kind::Column];

/// Attribute blocks: what decodes has one encoding, and is of one block only. The first byte is the
/// kind.
pub fn attributes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, plain) = (input.below(3), input.rest());
    let Some(kind) = KINDS.get(usize::from(kind)).copied() else { return };
    let Some(number) = Reader::new(plain).u64() else { return };
    assert_eq!(Block::decode(kind, number ^ 1, plain), None, "another block");
    let Some(block) = Block::decode(kind, number, plain) else { return };
    assert!(block.encode(number).as_deref() == Some(plain), "a block has one encoding");
    assert_ne!(block, Block::empty(kind));
    if let Block::Posting(bits) = block {
        let offsets: Vec<u64> = bits.iter().collect();
        assert_eq!(offsets.len() as u64, bits.len());
        assert!(offsets.is_sorted() && offsets.iter().all(|offset| bits.contains(*offset)));
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
