//! What the fuzz targets for input files do with their bytes. Compiled into tests and into `fuzz/`,
//! not into the program.
//!
//! A reader takes any bytes for a file: it reads them or says what is wrong, does so twice alike
//! after going back to the first row or line, and never makes more of a file than is in it.

use std::io::Cursor;

use crate::jsonl::Lines;
use crate::npy::{Vectors, header};

/// The npy reader.
pub(crate) fn npy(bytes: &[u8]) {
    let Ok(mut vectors) = Vectors::new(Cursor::new(bytes)) else { return };
    let (rows, columns) = (vectors.rows(), vectors.columns());
    assert!(
        u64::try_from(columns)
            .is_ok_and(|columns| rows == 0 || rows * columns * 2 <= bytes.len() as u64)
    );
    let mut read = || {
        let (mut all, mut fault) = (Vec::new(), None);
        while fault.is_none() {
            match vectors.next_row() {
                Ok(Some(row)) => all.push(row),
                Ok(None) => break,
                Err(said) => fault = Some(said),
            }
        }
        assert_eq!(vectors.rewind(), Ok(()));
        (all, fault)
    };
    let (all, fault) = read();
    assert_eq!(read(), (all.clone(), fault.clone()), "read twice alike");
    assert!(all.iter().all(|row| row.len() == columns && row.iter().all(|x| x.is_finite())));
    assert_eq!(all.len() as u64 == rows, fault.is_none());
    // What the writer makes of the rows is read as the same.
    let data = all.iter().flatten().flat_map(|component| component.to_le_bytes());
    let mut written = header("<f4", all.len() as u64, columns as u64);
    written.extend(data);
    let mut again = match Vectors::new(Cursor::new(written)) {
        Ok(again) => again,
        Err(fault) => return assert!(columns == 0 || all.is_empty(), "{fault}"),
    };
    for row in all {
        assert_eq!(again.next_row(), Ok(Some(row)));
    }
    assert_eq!(again.next_row(), Ok(None));
}

/// The JSON Lines reader.
pub(crate) fn jsonl(bytes: &[u8]) {
    let mut lines = Lines::new(Cursor::new(bytes));
    let mut read = || {
        let mut all = Vec::new();
        loop {
            match lines.next_line() {
                Ok(Some(line)) => all.push(line),
                Ok(None) => break (all, lines.number(), lines.rewind().map(|()| String::new())),
                Err(said) => {
                    assert!(said.starts_with(&format!("line {}: ", lines.number())), "{said}");
                    assert_eq!(lines.rewind(), Ok(()));
                    break (all, 0, Ok(said));
                }
            }
        }
    };
    let (all, count, fault) = read();
    let again = read();
    assert!(again == (all, count, fault), "read twice alike");
    let all = again.0;
    let ends = bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
    assert!(all.len() as u64 <= ends + 1);
    assert!(all.iter().all(|line| line.metadata.as_ref().is_none_or(serde_json::Value::is_object)));
}

#[cfg(test)]
#[path = "../../fuzz_support/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::{directory, replay};

    fn npy_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let whole = |descr, data: &[u8]| [super::header(descr, 2, 3), data.to_vec()].concat();
        let text = b"{\"shape\": (1,1) ,'fortran_order':False,'descr':'<f4'}  \n";
        let length = u8::try_from(text.len()).unwrap();
        let second = [&b"\x93NUMPY\x02\0"[..], &[length, 0, 0, 0], text, &[0, 0, 128, 63]].concat();
        vec![
            ("single", whole("<f4", &[1; 24])),
            ("half", whole("<f2", &[60; 12])),
            ("no-rows", super::header("<f4", 0, 7)),
            ("infinite", whole("<f4", &[[0, 0, 128, 63], [0, 0, 128, 127]].concat().repeat(3))),
            ("version-2", second),
            ("truncated", whole("<f4", &[1; 23])),
        ]
    }

    fn jsonl_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let text = [
            (
                "items",
                "{\"id\": \"a\", \"contents\": \"text\", \"metadata\": {\"n\": [1, 2e3]}}\r\n{\"id\": \"b\"}",
            ),
            (
                "base64",
                "{\"metadata\": null, \"id\": \"\\u00e9\", \"contents\": {\"base64\": \"/wA=\"}}\n",
            ),
            ("empty-line", "{\"id\": \"a\"}\n\n{\"id\": \"b\"}\n"),
            ("unknown", "{\"id\": \"a\", \"text\": 1}\n"),
            ("deep", "{\"id\": \"a\", \"metadata\": {\"a\": [[[[{\"b\": {}}]]]]}}\n"),
        ];
        text.map(|(name, text)| (name, text.as_bytes().to_vec())).into()
    }

    #[test]
    fn readers_take_any_bytes() {
        let bless = std::env::var_os("SEALVEC_BLESS").is_some_and(|value| value == "1");
        for (target, seeds) in [("npy", npy_seeds()), ("jsonl", jsonl_seeds())] {
            for (name, bytes) in seeds {
                let path = directory(target).join(name);
                if bless {
                    std::fs::create_dir_all(directory(target)).unwrap();
                    std::fs::write(&path, &bytes).unwrap();
                }
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
            }
        }
        replay("npy", super::npy, 4000);
        replay("jsonl", super::jsonl, 4000);
    }
}
