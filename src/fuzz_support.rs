//! For the fuzz targets, and no part of the API: what each target does with its bytes.
//!
//! A target is a function that takes any bytes. It panics if a property does not hold, and never
//! otherwise; what the properties are is with each function. `fuzz/` calls these functions from
//! libFuzzer; `cargo test` runs them on the seeds in `fuzz/seeds` and on changed seeds.
//!
//! Nearly everything that is stored is sealed, and bytes that a fuzzer makes up never open. So a
//! target for a sealed record uses its bytes in three ways: in the place of the stored value, which
//! must be refused; as a list of changes to a genuine value, which must be refused unless they
//! change nothing; and as the plaintext, sealed under fixed keys or decoded as it is. The last one
//! is behind the seal, where only a faulty or a hostile writer could get.

#![expect(clippy::expect_used, reason = "a target tells what does not hold by panicking")]

mod blocks;
mod nodes;
mod operations;
mod records;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod seeds;
mod texts;

pub use blocks::{attributes, owed};
pub use nodes::{node, sealed_node};
pub use operations::operations;
pub use records::{commit, item, payload, table, wrap};
pub use texts::{cursor, filter, identifiers};

use crate::codec::Reader;
use crate::crypto::Secret;
use crate::crypto::kdf::{ReadSecret, Salt};
use crate::id::IndexId;
use crate::store::memory::Memory;
use crate::store::record::Epochs;
use crate::store::{Batch, Durability, Engine, Family, Limits};

const INDEX: IndexId = IndexId([1; 16]);
/// The current epoch; 1 is valid, too.
const EPOCH: u32 = 2;
const SALT: Salt = [5; 24];

fn secrets() -> Epochs {
    let secret = |byte| ReadSecret::new(&Secret::new([byte; 32]));
    Epochs::new(vec![(EPOCH, secret(2)), (1, secret(1))])
}

/// Decisions taken from bytes; past their end all are zero.
struct Input<'a>(Reader<'a>);

impl<'a> Input<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    const fn is_empty(&self) -> bool {
        self.0.left() == 0
    }

    fn u8(&mut self) -> u8 {
        self.0.u8().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    /// A number below `end`, which is 1 to 256.
    fn below(&mut self, end: u16) -> u8 {
        u8::try_from(u16::from(self.u8()) % end.max(1)).unwrap_or(0)
    }

    /// Bytes after their length in two bytes, or all that are left.
    fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.u16()).min(self.0.left());
        self.0.bytes(length).unwrap_or_default()
    }

    fn rest(&mut self) -> &'a [u8] {
        self.0.rest()
    }
}

/// A genuine value, with the changes that bytes stand for: perhaps cut or extended, and then some
/// of its bytes replaced by their exclusive or with others.
fn edited(genuine: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut input = Input::new(bytes);
    let mut out = genuine.to_vec();
    match input.u8() {
        0..192 => {}
        192..224 => out.truncate(usize::from(input.u16()) % (genuine.len() + 1)),
        224.. => out.extend_from_slice(input.piece()),
    }
    while !input.is_empty() {
        let (at, change) = (usize::from(input.u16()), input.u8());
        let length = out.len().max(1);
        if let Some(byte) = out.get_mut(at % length) {
            *byte ^= change;
        }
    }
    out
}

/// Neither bytes in the place of a stored value nor changes of the genuine one open.
fn only_genuine(bytes: &[u8], genuine: &[u8], mut opens: impl FnMut(&[u8]) -> bool) {
    assert_eq!(opens(bytes), bytes == genuine, "bytes in the place of a stored value");
    let edited = edited(genuine, bytes);
    assert_eq!(opens(&edited), edited == genuine, "a changed stored value");
}

/// A store that holds these values in its catalog.
fn catalog(values: &[(Vec<u8>, Vec<u8>)]) -> Memory {
    let memory = Memory::new(Limits { value: 4096 });
    let mut batch = Batch::default();
    for (key, value) in values {
        batch.put(Family::Catalog, key.clone(), value.clone());
    }
    memory.commit(batch, Durability::Buffered).expect("memory takes everything");
    memory
}
