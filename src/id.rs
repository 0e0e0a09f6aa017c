//! Small identifiers and counters shared by every layer. No secrets live here.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The random 16-byte name of an index on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IndexId(pub(crate) [u8; 16]);

impl fmt::Debug for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexId({})", Hex(&self.0))
    }
}

/// A number every item gets at its first upsert; it only grows and is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ItemNumber(pub(crate) u64);

/// A node of the partition tree. 0 is the root; every other id is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u64);

impl NodeId {
    pub(crate) const ROOT: Self = Self(0);
}

/// A user's 16-byte identifier, chosen by the application.
///
/// It is stored only inside sealed records, and `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub(crate) [u8; 16]);

impl UserId {
    /// Takes exactly 16 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any other length.
    ///
    /// ```
    /// use sealvec::UserId;
    /// assert!(UserId::from_bytes(&[7; 16]).is_ok());
    /// assert!(UserId::from_bytes(b"alice").is_err());
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let id = bytes.try_into().map_err(|_| {
            Error::invalid(format!("a user id is exactly 16 bytes, this one has {}", bytes.len()))
        })?;
        Ok(Self(id))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = Error;

    /// Parses 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| Error::invalid("a user id is written as 32 hexadecimal digits"))
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(..)")
    }
}

/// The rights of a principal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(u8);

impl Permissions {
    /// get, query, list, count.
    pub const READ: Self = Self(1);
    /// upsert, update, delete. The library keeps a write-only user from reading; the mathematics
    /// does not, because writing needs the secrets that records are sealed under.
    pub const WRITE: Self = Self(2);
    /// Both.
    pub const READ_WRITE: Self = Self(3);
    /// The holder of the index key: everything, users and deletion of the index included.
    pub(crate) const ROOT: Self = Self(7);

    /// Whether the read right is in it.
    #[must_use]
    pub const fn read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether the write right is in it.
    #[must_use]
    pub const fn write(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) const fn root(self) -> bool {
        self.0 & 4 != 0
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Accepts the combinations that a wrap or table may carry: 1, 2, 3 and 7.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 | 2 | 3 | 7 => Some(Self(bits)),
            _ => None,
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "read",
            2 => "write",
            3 => "read,write",
            _ => "root",
        })
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permissions({self})")
    }
}

impl FromStr for Permissions {
    type Err = Error;

    /// Parses `read`, `write` or both, separated by a comma.
    fn from_str(text: &str) -> Result<Self> {
        let mut bits = 0;
        for word in text.split(',') {
            bits |= match word.trim() {
                "read" => 1,
                "write" => 2,
                _ => return Err(Error::invalid("permissions are `read`, `write` or `read,write`")),
            };
        }
        Ok(Self(bits))
    }
}

/// Names one state of the items of an index.
///
/// It changes exactly when items change. Grants, revocations and maintenance leave it as it is,
/// and so does a call that changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag(pub(crate) [u8; 32]);

impl ETag {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
    }
}

impl FromStr for ETag {
    type Err = Error;

    /// Parses 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| Error::invalid("an ETag is written as 64 hexadecimal digits"))
    }
}

/// What a call brought along for tracing: a W3C `traceparent`, of which the trace id is kept.
///
/// It goes into the commit that the call makes. A malformed one fails nothing; the commit says that
/// it was malformed, and nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trace {
    /// Nothing.
    #[default]
    None,
    /// The trace id.
    Id([u8; 16]),
    /// Something that is not a `traceparent`.
    Malformed,
}

impl Trace {
    /// Reads a `traceparent` header: `version-trace id-parent id-flags` in lower-case hexadecimal
    /// (W3C Trace Context, section 3.2). A later version than 00 may go on after another dash.
    ///
    /// ```
    /// use sealvec::Trace;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert!(matches!(Trace::from_traceparent(header), Trace::Id(_)));
    /// assert_eq!(Trace::from_traceparent("garbage"), Trace::Malformed);
    /// ```
    #[must_use]
    pub fn from_traceparent(header: &str) -> Self {
        Self::parse(header).map_or(Self::Malformed, Self::Id)
    }

    fn parse(header: &str) -> Option<[u8; 16]> {
        if header.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut fields = header.splitn(5, '-');
        let [version] = decode_hex::<1>(fields.next()?)?;
        let trace = decode_hex::<16>(fields.next()?)?;
        let parent = decode_hex::<8>(fields.next()?)?;
        let _flags = decode_hex::<1>(fields.next()?)?;
        let more = fields.next().is_some();
        let valid = version != 0xff && !(version == 0 && more) && trace != [0; 16];
        (valid && parent != [0; 8]).then_some(trace)
    }

    /// As stored.
    pub(crate) const fn parts(self) -> (u8, [u8; 16]) {
        match self {
            Self::None => (0, [0; 16]),
            Self::Id(id) => (1, id),
            Self::Malformed => (2, [0; 16]),
        }
    }

    pub(crate) fn from_parts(state: u8, id: [u8; 16]) -> Option<Self> {
        match state {
            0 => (id == [0; 16]).then_some(Self::None),
            1 => (id != [0; 16]).then_some(Self::Id(id)),
            2 => (id == [0; 16]).then_some(Self::Malformed),
            _ => None,
        }
    }
}

/// Names one commit of an index: which state an answer was given from.
///
/// Two tokens are equal if they name the same commit, whether or not either knows it to be durable.
#[derive(Clone, Copy, Eq)]
#[non_exhaustive]
pub struct VersionToken {
    /// The number of the commit; the first is 1.
    pub sequence: u64,
    /// The hash of the commit.
    pub hash: [u8; 32],
    /// The number of the grant table the commit was made under.
    pub table: u64,
    /// Whether the commit is known to have reached the disk. A token that is not durable is a
    /// promise only after [`flush`](crate::Database::flush). Handles that only read do not know,
    /// and say no; in memory there is nothing to wait for, and it is yes unless the write was
    /// buffered.
    pub durable: bool,
}

impl fmt::Display for VersionToken {
    /// Four fields of lower-case hexadecimal, separated by dots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, hash, table, durable } = self;
        write!(f, "{sequence:x}.{}.{table:x}.{:x}", Hex(hash), u8::from(*durable))
    }
}

impl FromStr for VersionToken {
    type Err = Error;

    /// Parses what [`Display`](fmt::Display) writes, and nothing else.
    ///
    /// ```
    /// use sealvec::VersionToken;
    /// let text = format!("1f.{}.2.1", "ab".repeat(32));
    /// let token: VersionToken = text.parse()?;
    /// assert_eq!((token.sequence, token.table, token.durable), (31, 2, true));
    /// assert_eq!(token.to_string(), text);
    /// # Ok::<(), sealvec::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut fields = text.split('.');
            let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
            let sequence = number()?;
            let hash = decode_hex(fields.next()?)?;
            let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
            let (table, durable) = (number()?, number()?);
            let token = Self { sequence, hash, table, durable: durable == 1 };
            // One text per token: no sign, no leading zero, no capital.
            (sequence > 0 && token.to_string() == text).then_some(token)
        };
        parse().ok_or_else(|| {
            Error::invalid(
                "a version token is written as it was given: four fields of lower-case hexadecimal, \
                 separated by dots",
            )
        })
    }
}

impl VersionToken {
    const fn commit(&self) -> (u64, &[u8; 32], u64) {
        (self.sequence, &self.hash, self.table)
    }
}

impl PartialEq for VersionToken {
    fn eq(&self, other: &Self) -> bool {
        self.commit() == other.commit()
    }
}

impl Hash for VersionToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.commit().hash(state);
    }
}

impl fmt::Debug for VersionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionToken({self})")
    }
}

/// Displays bytes as lower-case hexadecimal.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Parses exactly `2 * N` hexadecimal digits of either case.
pub(crate) fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let etag = ETag([0xa5; 32]);
        assert_eq!(etag.to_string().parse::<ETag>(), Ok(etag));
        for bad in
            ["", "a5", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"\u{e9}".repeat(32)]
        {
            assert!(bad.parse::<ETag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let (id, rest) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331-01");
        let bytes = decode_hex(id).unwrap();
        for good in
            [format!("00-{id}-{rest}"), format!("cc-{id}-{rest}"), format!("cc-{id}-{rest}-x")]
        {
            assert_eq!(Trace::from_traceparent(&good), Trace::Id(bytes), "{good}");
        }
        for bad in [
            String::new(),
            id.to_owned(),
            format!("00-{id}-{rest}-x"),
            format!("00-{id}-{rest}0"),
            format!("ff-{id}-{rest}"),
            format!("0-{id}-{rest}"),
            format!("00-{}-{rest}", id.to_uppercase()),
            format!("00-{}-{rest}", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-{rest} "),
            format!("00-{}-{rest}", "\u{e9}".repeat(16)),
        ] {
            assert_eq!(Trace::from_traceparent(&bad), Trace::Malformed, "{bad}");
        }
        for trace in [Trace::None, Trace::Id([7; 16]), Trace::Malformed] {
            let (state, id) = trace.parts();
            assert_eq!(Trace::from_parts(state, id), Some(trace));
        }
        for (state, id) in [(0, [1; 16]), (1, [0; 16]), (2, [1; 16]), (3, [0; 16])] {
            assert_eq!(Trace::from_parts(state, id), None);
        }
    }

    #[test]
    fn a_version_token_has_one_text() {
        let token = VersionToken { sequence: 0x1f, hash: [0xa5; 32], table: 0x2a, durable: false };
        let text = token.to_string();
        let parsed: VersionToken = text.parse().unwrap();
        assert_eq!((parsed, parsed.durable), (token, false));
        let hash = "a5".repeat(32);
        for bad in [
            String::new(),
            format!("1f.{hash}.2a"),
            format!("1f.{hash}.2a.0.0"),
            format!("1F.{hash}.2a.0"),
            format!("01f.{hash}.2a.0"),
            format!("+1f.{hash}.2a.0"),
            format!("0.{hash}.2a.0"),
            format!("1f.{}.2a.0", hash.to_uppercase()),
            format!("1f.{hash}.2a.2"),
            format!("1f.{}.2a.1", &hash[2..]),
            format!("10000000000000000.{hash}.2a.1"),
            format!(" 1f.{hash}.2a.1"),
        ] {
            assert!(bad.parse::<VersionToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn permissions_parse_only_what_can_be_granted() {
        assert_eq!("read, write".parse(), Ok(Permissions::READ_WRITE));
        for bad in ["", "root", "read,", "READ", "read write"] {
            assert!(bad.parse::<Permissions>().is_err(), "{bad}");
        }
        let allowed: Vec<u8> =
            (0..=u8::MAX).filter(|bits| Permissions::from_bits(*bits).is_some()).collect();
        assert_eq!(allowed, [1, 2, 3, 7]);
    }
}
