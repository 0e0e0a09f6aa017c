//! Blocks of the attribute index: words, plaintexts, sealed values and keys.

use super::{EPOCH, Inputs, Lines, ramp};
use crate::attributes::block::{Bits, Block, Column, shape};
use crate::attributes::words;
use crate::crypto::kdf::Names;
use crate::filter::{Span, word};
use crate::store::key::{self, Kind};

pub(super) fn put(lines: &mut Lines, inputs: &Inputs) {
    lines.section(
        "The words of the field a.b with the values \"en\", 7, 0.5 and true, the field itself, and\n\
         where the attribute index keeps the first and the last.",
    );
    let names = Names::new(&inputs.secrets.name);
    let values = [serde_json::json!("en"), 7.into(), serde_json::json!(0.5), true.into()];
    let all = values.iter().map(|value| words::posting("a.b", &word(value).unwrap()));
    let all: Vec<Vec<u8>> = all.chain([words::column("a.b")]).collect();
    for (number, word) in all.iter().enumerate() {
        lines.put(&format!("word.{number}"), word);
    }
    let (posting, column) = (names.attribute(&all[0]), names.attribute(&all[4]));
    lines.put("word.place", posting);
    lines.put("field.place", column);
    lines.section(
        "Blocks, sealed for commit 258: of a posting, number 3 with the items 2 and 4095, and number 4\n\
         with the first 65; of the directory, number 5 with the item 70..7f as its second; of a column,\n\
         number 6 with item 1 from -1.5 to 2.25, number 7 with -5, 8, 21 and so on in its first 1945 items,\n\
         number 8 with -5 to 70000 in its first 257, and number 9 with -20, -19.75 and so on in its first\n\
         300. Salts begin at 0d, 0e, 0f, 10, 11, 12 and 13.",
    );
    let bits = |offsets: &mut dyn Iterator<Item = u64>| {
        let mut bits = Bits::default();
        offsets.for_each(|offset| assert!(bits.insert(offset)));
        Block::Posting(bits)
    };
    let mut items = vec![[0; 16]; 64];
    items[1] = ramp(0x70);
    let column_of = |spans: &mut dyn Iterator<Item = (u64, f64, f64)>| {
        let mut column = Column::default();
        for (offset, least, greatest) in spans {
            assert!(column.set(offset, Some(Span { least, greatest })));
        }
        Block::Column(column)
    };
    let one = column_of(&mut [(1, -1.5, 2.25)].into_iter());
    let narrow = (0..1945u32).map(|item| (item.into(), f64::from(item) * 13.0 - 5.0));
    let narrow = column_of(&mut narrow.map(|(item, number)| (item, number, number)));
    let two = column_of(&mut (0..257).map(|item| (item, -5.0, 7e4)));
    let float = (0..300u32).map(|item| (item.into(), f64::from(item) / 4.0 - 20.0));
    let float = column_of(&mut float.map(|(item, number)| (item, number, number)));
    let blocks = [
        ("posting", Kind::Posting, posting, 3, bits(&mut [2, 4095].into_iter())),
        ("bitmap", Kind::Posting, posting, 4, bits(&mut (0..65))),
        ("directory", Kind::Directory, key::number_id(5), 5, Block::Directory(items)),
        ("column", Kind::Column, column, 6, one),
        ("narrow", Kind::Column, column, 7, narrow),
        ("two", Kind::Column, column, 8, two),
        ("float", Kind::Column, column, 9, float),
    ];
    for (first, (name, kind, logical, number, block)) in (0x0d..).zip(blocks) {
        let plain = block.encode(number).unwrap();
        lines.put(&format!("attribute.{name}.plain"), &plain);
        let shape = shape(kind);
        let place = shape.place(inputs.index, EPOCH, logical, 258);
        let sealed = shape.seal(&inputs.read, &place, &ramp(first), &plain);
        lines.put(&format!("attribute.{name}"), &sealed);
        let key = key::attribute(inputs.index, kind, &logical, number);
        lines.put(&format!("attribute.{name}.key"), key);
        let mut opened = Vec::new();
        let epochs = inputs.epochs();
        assert_eq!(shape.open_into(&epochs, inputs.index, logical, &sealed, &mut opened), Ok(258));
        assert_eq!(Block::decode(kind, number, &opened), Some(block));
    }
}
