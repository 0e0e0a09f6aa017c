//! Listing ids in order, a page at a time.
//!
//! Item records lie in pseudonym order, so a page costs a scan that opens every item record: about
//! 2.3 us an item, shared by the threads. Memory is one page. The cursor names the last id of the
//! page; it is sealed and authenticated, so it shows nothing and cannot be made up.

use std::collections::BinaryHeap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use super::{Answer, Include, Index, MAX_ID, Span, scan};
use crate::crypto::aead::{Cipher, WHOLE};
use crate::crypto::random;
use crate::error::{Error, Fault, Result};
use crate::id::Hex;
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::redact::Hidden;

/// The version of cursors.
const FORMAT: u8 = 1;
/// The version of cursors of metadata queries.
const METADATA_FORMAT: u8 = 2;
/// The most bytes that a cursor keeps of where it is.
pub(crate) const MAX_PLACE: usize = 4 * MAX_ID;
/// The most ids of a page.
pub(crate) const MAX_PAGE: usize = 10_000;
const SALT: usize = 24;

/// One page of ids.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdPage {
    /// Sorted by the bytes of their UTF-8.
    pub ids: Vec<String>,
    /// Where the next page begins; `None` after the last page.
    pub next: Option<Cursor>,
}

impl fmt::Debug for IdPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdPage")
            .field("ids", &Hidden::list(self.ids.len()))
            .field("next", &self.next)
            .finish()
    }
}

/// What a cursor is of: cursors of one are not cursors of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paged {
    /// Ids; the place is the last of them.
    Ids,
    /// A query by metadata.
    Metadata,
}

impl Paged {
    const fn format(self) -> u8 {
        match self {
            Self::Ids => FORMAT,
            Self::Metadata => METADATA_FORMAT,
        }
    }
}

/// Where a list continues: opaque, and valid for the index it came from for as long as its secrets
/// are. Written as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor(..)")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let most = (1 + 4 + SALT + MAX_PLACE + 16) * 2;
        let bytes = if text.len() <= most { pairs.collect() } else { None };
        bytes.map(Self).ok_or_else(not_a_cursor)
    }
}

impl Cursor {
    /// format u8 | epoch u32 | salt 24 | sealed place | tag 16
    pub(crate) fn seal(key: &ReadKey, of: Paged, place: &[u8]) -> Result<Self> {
        let salt: [u8; SALT] = random()?;
        let epoch = key.table.epoch();
        let cipher = Cipher::new(&key.current_secret()?.cursor_key(key.index, &salt));
        let mut out = vec![of.format()];
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&salt);
        let aad = out.clone();
        cipher.seal_onto(&WHOLE, &aad, place, &mut out);
        Ok(Self(out))
    }

    /// The place, if it is a cursor of this index and of this kind.
    pub(crate) fn open(&self, key: &ReadKey, of: Paged) -> Result<Vec<u8>> {
        self.place(key, of).ok_or_else(not_a_cursor)
    }

    fn place(&self, key: &ReadKey, of: Paged) -> Option<Vec<u8>> {
        let (header, sealed) = self.0.split_at_checked(1 + 4 + SALT)?;
        let mut reader = crate::codec::Reader::new(header);
        if reader.u8()? != of.format() {
            return None;
        }
        let epoch = reader.u32()?;
        let salt = reader.array()?;
        let cipher = Cipher::new(&key.epochs.get(epoch)?.cursor_key(key.index, &salt));
        cipher.open(&WHOLE, header, sealed)
    }
}

pub(crate) fn not_a_cursor() -> Error {
    Error::invalid("this is not a cursor of this index; pass the one that came with the last page")
}

impl Index<'_> {
    /// The ids of the index in order, `limit` (1 to 10,000) at a time. Pass the cursor of a page to
    /// get the next one. Needs the read right.
    ///
    /// Every page is from the state of the index at that call: ids that exist throughout appear
    /// exactly once. Opens every item record; see the cost in the source.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a limit out of range or a cursor that is not one of this
    /// index; [`Error::PermissionDenied`]; [`Error::Integrity`]; and those of every call.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("b", [1.0, 0.0]), Item::new("a", [0.0, 1.0])])?;
    /// let page = index.list_ids(1, None)?;
    /// assert_eq!(page.ids, ["a"]);
    /// let page = index.list_ids(1, page.next.as_ref())?;
    /// assert_eq!((&page.ids[..], &page.next), (&["b".to_owned()][..], &None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_ids(&self, limit: usize, cursor: Option<&Cursor>) -> Result<Answer<IdPage>> {
        self.during(Call::ListIds).read(|snapshot, key| {
            if !(1..=MAX_PAGE).contains(&limit) {
                return Err(Error::invalid(format!("the limit is 1 to {MAX_PAGE}, not {limit}")));
            }
            let after = cursor.map(|cursor| {
                let place = cursor.open(key, Paged::Ids)?;
                String::from_utf8(place).map_err(|_| not_a_cursor())
            });
            let after = after.transpose()?;
            // One more than asked for tells whether there is a next page.
            let keep = limit + 1;
            let shares = self.shared().map(Span::split(self.shared().threads()), |span| {
                let mut smallest: BinaryHeap<String> = BinaryHeap::new();
                let seen = scan(snapshot, key, span, Include::NONE, |item| {
                    let id = &item.record.id;
                    if after.as_ref().is_none_or(|after| id > after)
                        && (smallest.len() < keep || smallest.peek().is_some_and(|top| id < top))
                    {
                        smallest.push(id.clone());
                        if smallest.len() > keep {
                            smallest.pop();
                        }
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok((seen, smallest.into_vec()))
            })?;
            let seen: u64 = shares.iter().map(|(seen, _)| seen).sum();
            if seen != key.head.commit.item_count {
                return Err(Error::Integrity(Fault::ItemRecord));
            }
            let mut ids: Vec<String> = shares.into_iter().flat_map(|(_, ids)| ids).collect();
            ids.sort_unstable();
            let more = ids.len() > limit;
            ids.truncate(limit);
            let last = ids.last().filter(|_| more);
            let next =
                last.map(|last| Cursor::seal(key, Paged::Ids, last.as_bytes())).transpose()?;
            Ok(IdPage { ids, next })
        })
    }
}
