//! The attribute index: which items have a value, without reading their metadata.
//!
//! Three kinds of sealed block, each over a range of item numbers:
//! - a *posting*, of a field and a value: the set of the items that have it, [`block::POSTING`]
//!   numbers to a block;
//! - the *directory*: the pseudonym behind each number, so that what postings select can be read,
//!   and with it the set of all items;
//! - a *column*, of a field that is declared for ranges: the least and the greatest number of each
//!   item. Every comparison looks for one number beyond a bound, so these two are enough, arrays
//!   included.
//!
//! Postings and columns lie under a pseudonym of field and value, or of the field. It is taken with
//! the name secret, so it stays when read secrets change. Blocks are padded to a few sizes.
//!
//! Invariants:
//! - A block changes in the commit that changes the item; the set hash covers it. So each state of
//!   the index is exact: what it says about an equality or a range is what the metadata says.
//! - What an item has is what [`filter::fields`](crate::filter::fields) finds, which walks as the
//!   evaluator does. An item with more fields or values than [`MOST_WORDS`], or with a number in a
//!   range field that no float holds, is *unlisted*: only in the directory and in one posting for
//!   such items, which every selection has in it and whose metadata is always read.
//! - What a filter asks that the index does not hold (a regular expression, a missing field, a
//!   field that is off) makes the selection larger than the answer, never smaller, and then the
//!   metadata of what is selected decides.
//!
//! Cost: for each value that a write adds or takes away one block is read, sealed and hashed, all
//! blocks of a commit together; a query reads the blocks of its values.

pub(crate) mod block;
mod edits;
mod numbers;
mod select;
mod verify;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub(crate) use edits::{Edits, rebuild, reseal};
pub(crate) use select::{Selected, Sift, resolve, select};
pub(crate) use verify::check;
