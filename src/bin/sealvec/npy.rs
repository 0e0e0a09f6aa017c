//! The npy format, as far as vectors need it.
//!
//! Read: two-dimensional little-endian float16 or float32 in C order, format versions 1.0, 2.0 and
//! 3.0; and int32 where row numbers are wanted. The header is judged against the length of the file before a row is read, so a copy that
//! broke off, or grew, is found at once. Rows are read one at a time.
//!
//! Written: version 1.0 with a header of 128 bytes, whatever the shape, so that it can be written
//! again in place when the number of rows is known.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use half::f16;

use crate::failure::{Failure, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Far more than any header of an array without fields.
const MAX_HEADER: u32 = 1 << 16;
const WRITTEN_HEADER: usize = 128;

/// How a component is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Half,
    Single,
    Int,
}

/// What a file may hold: type descriptors, and the words for a file that holds something else.
struct Types(&'static [(&'static str, Kind)], &'static str);

const FLOATS: Types = Types(
    &[("<f2", Kind::Half), ("<f4", Kind::Single)],
    "'<f2' and '<f4' are read (little-endian float16 and float32)",
);
const INTS: Types = Types(&[("<i4", Kind::Int)], "'<i4' is read (little-endian int32)");

/// Vectors in a file.
#[derive(Debug)]
pub(crate) struct Vectors<R> {
    input: R,
    kind: Kind,
    rows: u64,
    columns: usize,
    data: u64,
    read: u64,
    row: Vec<u8>,
}

/// Opens a file of vectors and checks its header and length.
pub(crate) fn open(path: &Path) -> Result<Vectors<BufReader<File>>> {
    let file = open_file(path)?;
    Vectors::new(file).map_err(|fault| Failure::input(path, fault))
}

/// Reads a file of int32 row numbers.
pub(crate) fn row_numbers(path: &Path) -> Result<Vec<Vec<u32>>> {
    let read = |file| {
        let mut rows = Vectors::with_types(file, &INTS)?;
        let mut all = Vec::new();
        while let Some(bytes) = rows.next_bytes()? {
            let numbers = bytes.as_chunks().0.iter().map(|x| i32::from_le_bytes(*x).try_into());
            let numbers: Result<Vec<u32>, _> = numbers.collect();
            let row = all.len();
            all.push(numbers.map_err(|_| {
                format!("row {row} (counted from 0): has a number below 0; row numbers are wanted")
            })?);
        }
        Ok(all)
    };
    read(open_file(path)?).map_err(|fault: String| Failure::input(path, fault))
}

/// Opens an input file, which is read twice and so cannot be a pipe.
pub(crate) fn open_file(path: &Path) -> Result<BufReader<File>> {
    let unreadable = |error: io::Error| Failure::input(path, unread(&error));
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Failure::input(
            path,
            "is not a regular file; it is read twice, so it has to be",
        ));
    }
    Ok(BufReader::with_capacity(1 << 18, file))
}

/// What went wrong when reading an input file.
pub(crate) fn unread(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

impl<R: Read + Seek> Vectors<R> {
    pub(crate) fn new(input: R) -> Result<Self, String> {
        Self::with_types(input, &FLOATS)
    }

    fn with_types(mut input: R, types: &Types) -> Result<Self, String> {
        let header = read_header(&mut input, types)?;
        let data = input.stream_position().map_err(|error| unread(&error))?;
        let end = input.seek(SeekFrom::End(0)).map_err(|error| unread(&error))?;
        let Header { kind, rows, columns } = header;
        let bytes = if kind == Kind::Half { 2 } else { 4 };
        let expected = columns.checked_mul(bytes).and_then(|row| row.checked_mul(rows));
        let expected = expected.and_then(|size| size.checked_add(data));
        let too_large = || format!("its header says {rows} rows of {columns}, which no file holds");
        let expected = expected.ok_or_else(too_large)?;
        if end < expected {
            return Err(format!(
                "is truncated: {expected} bytes expected from its header, {end} found"
            ));
        }
        if end > expected {
            return Err(format!(
                "has bytes after its data: {expected} bytes expected from its header, {end} found"
            ));
        }
        if rows > 0 && columns == 0 {
            return Err("has no columns".into());
        }
        // The file is at least as long as a row, so the buffer is no longer than the file.
        let columns = usize::try_from(columns).map_err(|_| too_large())?;
        let bytes = if kind == Kind::Half { 2 } else { 4 };
        let length = if rows == 0 { 0 } else { columns * bytes };
        let row = vec![0; length];
        let mut vectors = Self { input, kind, rows, columns, data, read: 0, row };
        vectors.rewind()?;
        Ok(vectors)
    }

    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// Goes back to the first row.
    pub(crate) fn rewind(&mut self) -> Result<(), String> {
        self.read = 0;
        self.input.seek(SeekFrom::Start(self.data)).map(|_| ()).map_err(|error| unread(&error))
    }

    /// The next row, if there is one; every component of it is finite.
    pub(crate) fn next_row(&mut self) -> Result<Option<Vec<f32>>, String> {
        let (row, kind) = (self.read, self.kind);
        let Some(bytes) = self.next_bytes()? else { return Ok(None) };
        let vector: Vec<f32> = if kind == Kind::Half {
            bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
        } else {
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        match vector.iter().position(|component| !component.is_finite()) {
            None => Ok(Some(vector)),
            Some(component) => {
                Err(format!("row {row} (counted from 0): component {component} is NaN or infinite"))
            }
        }
    }

    /// The next row as it is in the file.
    fn next_bytes(&mut self) -> Result<Option<&[u8]>, String> {
        if self.read == self.rows {
            return Ok(None);
        }
        self.input.read_exact(&mut self.row).map_err(|error| unread(&error))?;
        self.read += 1;
        Ok(Some(&self.row))
    }
}

struct Header {
    kind: Kind,
    rows: u64,
    columns: u64,
}

fn read_header(input: &mut impl Read, types: &Types) -> Result<Header, String> {
    let short = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "is not a whole npy file: it ends in its header".to_owned(),
        _ => unread(&error),
    };
    let mut start = [0; 8];
    input.read_exact(&mut start).map_err(short)?;
    let [magic @ .., major, minor] = start;
    if magic != *MAGIC {
        return Err("is not an npy file".into());
    }
    let length = match (major, minor) {
        (1, 0) => {
            let mut length = [0; 2];
            input.read_exact(&mut length).map_err(short)?;
            u16::from_le_bytes(length).into()
        }
        (2 | 3, 0) => {
            let mut length = [0; 4];
            input.read_exact(&mut length).map_err(short)?;
            u32::from_le_bytes(length)
        }
        _ => {
            return Err(format!(
                "has npy format version {major}.{minor}; 1.0, 2.0 and 3.0 are read"
            ));
        }
    };
    if length > MAX_HEADER {
        return Err(format!("has a header of {length} bytes; at most {MAX_HEADER} are read"));
    }
    let mut text = Vec::new();
    input.take(length.into()).read_to_end(&mut text).map_err(short)?;
    if text.len() as u64 != u64::from(length) {
        return Err(short(io::ErrorKind::UnexpectedEof.into()));
    }
    let text = std::str::from_utf8(&text).ok();
    let fields = text.and_then(|text| Literal(text).header());
    let (descr, fortran, shape) = fields.ok_or("has a header that is not one of a plain array")?;
    let Types(known, read) = types;
    let Some((_, kind)) = known.iter().find(|(name, _)| *name == descr) else {
        return Err(format!("has type '{}'; {read}", descr.escape_default()));
    };
    if fortran {
        return Err("is in Fortran order; save it in C order (numpy.ascontiguousarray)".into());
    }
    match shape[..] {
        [rows, columns] => Ok(Header { kind: *kind, rows, columns }),
        _ => Err(format!(
            "has {} dimensions; two are read, one row a vector (numpy.atleast_2d)",
            shape.len()
        )),
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` with its keys in any order.
    fn header(mut self) -> Option<(&'a str, bool, Vec<u64>)> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_none() {
            let key = self.string()?;
            self.take(":")?;
            let again = match key {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return None,
            };
            if again || (self.take(",").is_none() && !self.0.trim_start().starts_with('}')) {
                return None;
            }
        }
        self.0.trim().is_empty().then_some(())?;
        Some((descr?, fortran?, shape?))
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
        let (value, rest) = text.strip_prefix(quote)?.split_once(quote)?;
        self.0 = rest;
        (!value.contains('\\')).then_some(value)
    }

    fn boolean(&mut self) -> Option<bool> {
        let taken = self.take("False").map(|()| false);
        taken.or_else(|| self.take("True").map(|()| true))
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        self.take("(")?;
        let mut sizes = Vec::new();
        while self.take(")").is_none() {
            let text = self.0.trim_start();
            let end = text.find(|other: char| !other.is_ascii_digit())?;
            let (size, rest) = text.split_at_checked(end)?;
            sizes.push(size.parse().ok()?);
            self.0 = rest;
            if self.take(",").is_none() && !self.0.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(sizes)
    }
}

/// The header of a two-dimensional array in C order.
pub(crate) fn header(descr: &str, rows: u64, columns: u64) -> Vec<u8> {
    let length = u8::try_from(WRITTEN_HEADER - 10).unwrap_or_default();
    let mut header = [&MAGIC[..], &[1, 0, length, 0]].concat();
    let fields =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.extend_from_slice(fields.as_bytes());
    header.resize(WRITTEN_HEADER - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const PLAIN: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

    fn file(version: u8, fields: &str, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(fields.len()).unwrap().to_le_bytes();
        let length = if version == 1 { &length[..2] } else { &length[..] };
        [MAGIC, &[version, 0][..], length, fields.as_bytes(), data].concat()
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn fault(bytes: Vec<u8>) -> String {
        Vectors::new(Cursor::new(bytes)).map(|_| ()).unwrap_err()
    }

    fn rows(bytes: Vec<u8>) -> Vec<Vec<f32>> {
        let mut vectors = Vectors::new(Cursor::new(bytes)).unwrap();
        let mut read = || -> Vec<_> {
            vectors.rewind().unwrap();
            std::iter::from_fn(|| vectors.next_row().unwrap()).collect()
        };
        let first = read();
        assert_eq!(read(), first);
        first
    }

    #[test]
    fn every_version_and_both_types_are_read() {
        let values = [1.0, -2.0, 0.5, 4.0, 5.0, 65504.0];
        let wanted = [values[..3].to_vec(), values[3..].to_vec()];
        for version in [1, 2, 3] {
            assert_eq!(rows(file(version, PLAIN, &floats(&values))), wanted);
        }
        let halves: Vec<u8> =
            values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(rows(file(1, &PLAIN.replace("f4", "f2"), &halves)), wanted);
        let odd = "{\"shape\": (2,3) ,'fortran_order':False,'descr':'<f4'}  \n";
        assert_eq!(rows(file(1, odd, &floats(&values))), wanted);
    }

    #[test]
    fn what_is_written_is_read() {
        for (count, columns) in [(0, 0), (0, 7), (2, 3)] {
            let head = header("<f4", count, columns);
            assert_eq!(head.len() % 64, 0);
            let data = vec![0; usize::try_from(count * columns * 4).unwrap()];
            let read = Vectors::new(Cursor::new([head, data].concat())).unwrap();
            assert_eq!((read.rows(), read.columns() as u64), (count, columns));
        }
        assert_eq!(header("<i8", u64::MAX, u64::MAX).len(), WRITTEN_HEADER);
    }

    #[test]
    fn a_wrong_length_says_what_was_expected_and_found() {
        let whole = file(1, PLAIN, &floats(&[0.0; 6]));
        let (length, said) = (whole.len(), fault([&whole[..], &[0]].concat()));
        assert!(said.contains("after its data") && said.contains(&(length + 1).to_string()));
        let said = fault(whole[..length - 1].to_vec());
        assert!(said.contains("truncated"), "{said}");
        assert!(said.contains(&format!("{length} bytes expected")), "{said}");
        assert!(said.contains(&format!("{} found", length - 1)), "{said}");
        for cut in 0..10 + PLAIN.len() {
            let said = fault(whole[..cut].to_vec());
            assert!(said.contains("ends in its header"), "{cut}: {said}");
        }
        let huge = PLAIN.replace("2, 3", "18446744073709551615, 65535");
        assert!(fault(file(1, &huge, &[])).contains("no file holds"));
        let large = PLAIN.replace("2, 3", "1, 4000000000000");
        assert!(fault(file(1, &large, &[])).contains("truncated"));
    }

    #[test]
    fn other_arrays_are_refused_by_name() {
        let data = floats(&[0.0; 6]);
        for (from, to, said) in [
            ("<f4", ">f4", "'>f4'"),
            ("<f4", "<f8", "'<f8'"),
            ("<f4", "|O", "'|O'"),
            ("False", "True", "Fortran"),
            ("(2, 3)", "(6,)", "1 dimensions"),
            ("(2, 3)", "()", "0 dimensions"),
            ("(2, 3)", "(1, 2, 3)", "3 dimensions"),
            ("(2, 3)", "(6, 0)", "no columns"),
            ("(2, 3)", "(-2, 3)", "plain array"),
            ("(2, 3)", "(2 3)", "plain array"),
            ("(2, 3)", "(99999999999999999999, 3)", "plain array"),
            ("'<f4'", "[('x', '<f4')]", "plain array"),
            ("'<f4'", "'<f4', 'descr': '<f4'", "plain array"),
            ("descr", "dtype", "plain array"),
            ("}", "", "plain array"),
            (", }", "} x", "plain array"),
        ] {
            let data = if said == "no columns" { &[] } else { &data[..] };
            let found = fault(file(1, &PLAIN.replace(from, to), data));
            assert!(found.contains(said), "{to}: {found}");
        }
        assert!(fault(b"PK\x03\x04 no array".to_vec()).contains("not an npy file"));
        assert!(fault(file(4, PLAIN, &data)).contains("version 4.0"));
        let huge = [&MAGIC[..], &[2, 0], &u32::MAX.to_le_bytes(), PLAIN.as_bytes()].concat();
        assert!(fault(huge).contains("4294967295 bytes"));
    }

    #[test]
    fn a_component_that_is_not_finite_is_named() {
        let bytes = file(1, PLAIN, &floats(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]));
        let mut vectors = Vectors::new(Cursor::new(bytes)).unwrap();
        assert!(vectors.next_row().unwrap().is_some());
        let said = vectors.next_row().unwrap_err();
        assert!(said.contains("row 1 ") && said.contains("component 1 "), "{said}");
    }
}
