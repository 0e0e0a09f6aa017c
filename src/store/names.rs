//! Name records: which index has a name. They lie under a pseudonym of the name and hold its id.
//!
//! Neither is secret nor signed: the name that counts is in the grant table, and must be the same.

use crate::codec::{Format, Reader, Writer};
use crate::error::{Fault, Result};
use crate::id::IndexId;

/// The version of name records.
pub(crate) const NAME_FORMAT: u8 = 1;

pub(crate) fn encode_name(id: IndexId) -> Vec<u8> {
    let mut record = Writer::with_capacity(17);
    record.u8(NAME_FORMAT).bytes(&id.0);
    record.finish()
}

pub(crate) fn decode_name(record: &[u8]) -> Result<IndexId> {
    const NAME: Format =
        Format { what: "name record", version: NAME_FORMAT, fault: Fault::Catalog };
    NAME.read(record, Reader::array).map(IndexId)
}
