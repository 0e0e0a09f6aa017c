//! Checked reading and writing of the fixed, big-endian layouts in `docs/format.md`.
//!
//! A [`Reader`] never panics and never reads past its input; every layout ends with
//! [`Reader::finish`], so trailing bytes are refused. `None` means "not this layout": the caller
//! turns it into the error that fits the record.

use crate::error::{Error, Fault, Result};

/// A stored format of one record kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// What errors call it.
    pub(crate) what: &'static str,
    /// The version this build writes and reads.
    pub(crate) version: u8,
    /// What it means if bytes are not of this format.
    pub(crate) fault: Fault,
}

impl Format {
    /// Checks the version byte that stored bytes begin with, and refuses another by name.
    pub(crate) fn check(&self, stored: &[u8]) -> Result<()> {
        match stored.first() {
            Some(&found) if found == self.version => Ok(()),
            Some(&found) => Err(Error::UnsupportedFormat {
                what: self.what,
                found: found.into(),
                supported: self.version.into(),
            }),
            None => Err(Error::Integrity(self.fault)),
        }
    }

    /// Reads the fields after the version byte, to the last byte.
    pub(crate) fn read<'a, T>(
        &self,
        stored: &'a [u8],
        fields: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Result<T> {
        self.check(stored)?;
        let mut reader = Reader::new(stored);
        let value = reader.u8().and_then(|_version| fields(&mut reader));
        reader.finish().and(value).ok_or(Error::Integrity(self.fault))
    }
}

/// Appends big-endian fields to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Writes a u16 length and the bytes. Callers validate lengths first; a longer value is cut
    /// off at the length field and then refused by every reader.
    pub(crate) fn short(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes big-endian fields off the front of a slice.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// Reads what [`Writer::short`] wrote.
    pub(crate) fn short(&mut self) -> Option<&'a [u8]> {
        let count = self.u16()?;
        self.bytes(usize::from(count))
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    /// `Some` only if nothing is left.
    pub(crate) const fn finish(self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

/// Reads a flag and a field that is zero when the flag is.
#[expect(clippy::option_option, reason = "malformed and absent are two things")]
pub(crate) fn optional<const N: usize>(reader: &mut Reader<'_>) -> Option<Option<[u8; N]>> {
    let (flag, value) = (reader.u8()?, reader.array()?);
    match flag {
        0 => (value == [0; N]).then_some(None),
        1 => Some(Some(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written_and_nothing_more() {
        let mut writer = Writer::default();
        writer.u8(1).u16(2).u32(3).u64(4).short(b"five").bytes(&[6; 6]);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.u16(), Some(2));
        assert_eq!(reader.u32(), Some(3));
        assert_eq!(reader.u64(), Some(4));
        assert_eq!(reader.short(), Some(&b"five"[..]));
        assert_eq!(reader.array(), Some([6; 6]));
        assert_eq!(reader.u8(), None);
        assert_eq!(reader.finish(), Some(()));
    }

    #[test]
    fn an_absent_field_is_zero() {
        let read = |bytes| optional::<2>(&mut Reader::new(bytes));
        assert_eq!((read(&[0, 0, 0]), read(&[1, 0, 7])), (Some(None), Some(Some([0, 7]))));
        for bad in [&[0, 0, 1][..], &[2, 0, 0], &[1, 0]] {
            assert_eq!(read(bad), None);
        }
    }

    #[test]
    fn refuses_short_input_and_trailing_bytes() {
        for cut in 0..8 {
            assert_eq!(Reader::new(&[0; 7][..cut.min(7)]).u64(), None);
        }
        assert_eq!(Reader::new(&[0, 9, 1]).short(), None);
        assert_eq!(Reader::new(&[1]).finish(), None);
    }
}
