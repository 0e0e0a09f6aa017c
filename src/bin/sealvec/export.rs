//! Export: from an index into two files that import reads.
//!
//! Items are written as they are visited, in one pass over one state of the index and in bounded
//! memory. Both files appear only when both are complete. They hold plaintext, and only their owner
//! can read them.

use std::io::{self, Write};
use std::ops::ControlFlow;

use half::f16;
use sealvec::{Entry, Include, Precision};

use crate::args::Export;
use crate::failure::{Failure, Result};
use crate::new_file::NewFile;
use crate::npy;
use crate::output::{Object, contents, print_line};
use crate::session::Caller;

pub(crate) fn run(caller: &Caller, args: &Export) -> Result<()> {
    if args.vectors == args.items {
        return Err(Failure::Usage("--vectors and --items name the same file".into()));
    }
    let index = caller.reading(&args.name)?;
    let found = index.describe()?;
    let descr = match found.precision {
        Precision::F16 => "<f2",
        _ => "<f4",
    };
    let columns = found.dimension.unwrap_or(0) as u64;
    let mut vectors = NewFile::create(&args.vectors)?;
    let mut items = NewFile::create(&args.items)?;
    vectors.write_all(&npy::header(descr, 0, columns))?;
    let mut written = Ok(());
    let count = index.for_each(Include::ALL, |entry| {
        written = write_vector(&mut vectors, &entry, found.precision)
            .and_then(|()| writeln!(items, "{}", line(&entry)));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    vectors.rewrite_start(&npy::header(descr, *count, columns))?;
    vectors.finish()?;
    items.finish()?;
    print_line(&format!("exported {} items", *count))
}

fn write_vector(out: &mut NewFile, entry: &Entry<'_>, precision: Precision) -> io::Result<()> {
    let components = entry.vector.unwrap_or_default().iter();
    let bytes: Vec<u8> = match precision {
        Precision::F16 => components.flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        _ => components.flat_map(|x| x.to_le_bytes()).collect(),
    };
    out.write_all(&bytes)
}

fn line(entry: &Entry<'_>) -> String {
    Object::new()
        .text("id", entry.id)
        .field("contents", contents(entry.contents))
        .field("metadata", entry.metadata.unwrap_or("null"))
        .end()
}
