//! Every derivation of the format, and every label, on one screen.
//!
//! HKDF-SHA256 (RFC 5869). A caller's key passes through Extract, salted with the index (and
//! user), because callers may use one key for several indexes. Random secrets are uniform already
//! and are expanded directly (RFC 5869 section 3.3). Labels end in a zero byte and everything
//! after them has a fixed width, so no two derivations share an info string.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{IndexKey, Secret, UserKey};
use crate::id::{IndexId, UserId};

const EXTRACT_ROOT: &[u8] = b"sealvec/1/extract/root\0";
const EXTRACT_USER: &[u8] = b"sealvec/1/extract/user\0";
const LOCATOR: &[u8] = b"sealvec/1/locator\0";
const WRAP: &[u8] = b"sealvec/1/wrap\0";
const ROOT_SIGN: &[u8] = b"sealvec/1/root-sign\0";
const ROSTER: &[u8] = b"sealvec/1/roster\0";
const ROSTER_PLACE: &[u8] = b"sealvec/1/roster-place\0";
const PSEUDONYM: &[u8] = b"sealvec/1/pseudonym\0";
const ATTRIBUTE_PLACE: &[u8] = b"sealvec/1/attribute-place\0";
const ROTATION: &[u8] = b"sealvec/1/rotation\0";
const CACHE: &[u8] = b"sealvec/1/cache\0";
const CURSOR: &[u8] = b"sealvec/1/cursor\0";
const NAME: &[u8] = b"sealvec/1/name\0";
const COMMIT_HASH: &[u8] = b"sealvec/1/commit-hash\0";
const FOLD_HASH: &[u8] = b"sealvec/1/fold-hash\0";
const TABLE_HASH: &[u8] = b"sealvec/1/table-hash\0";
const COMMIT_SIGNATURE: &[u8] = b"sealvec/1/commit-signature\0";
const TABLE_SIGNATURE: &[u8] = b"sealvec/1/table-signature\0";
/// The BLAKE3 derive-key context of set-hash elements.
pub(crate) const SET_ELEMENT: &str = "sealvec/1/set-element";

/// What a read secret is expanded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Item records.
    Record,
    /// Vectors, contents and metadata.
    Payload,
    /// Commits, and the fold of those that are not kept.
    Commit,
    /// Grant tables.
    Table,
    /// Nodes of the partition tree.
    Node,
    /// Blocks of the attribute index.
    Attribute,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Record => b"sealvec/1/record\0",
            Self::Payload => b"sealvec/1/payload\0",
            Self::Commit => b"sealvec/1/commit\0",
            Self::Table => b"sealvec/1/table\0",
            Self::Node => b"sealvec/1/node\0",
            Self::Attribute => b"sealvec/1/attribute\0",
        }
    }
}

/// The kinds of thing that are signed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signed {
    /// A commit body, by its writer.
    Commit,
    /// A grant table, by the root.
    Table,
}

impl Signed {
    /// What precedes the body in the signed message, so that no signature serves two purposes.
    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Commit => COMMIT_SIGNATURE,
            Self::Table => TABLE_SIGNATURE,
        }
    }

    /// SHA-256 of the label and the body: how commits and tables refer to each other.
    pub(crate) fn hash(self, body: &[u8]) -> [u8; 32] {
        let label = match self {
            Self::Commit => COMMIT_HASH,
            Self::Table => TABLE_HASH,
        };
        Sha256::new().chain_update(label).chain_update(body).finalize().into()
    }
}

/// SHA-256 of the label and the body: how a commit refers to the fold of those before it.
pub(crate) fn fold_hash(body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(FOLD_HASH).chain_update(body).finalize().into()
}

/// A single-use key.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// The bytes of fresh randomness behind every single-use key.
pub(crate) type Salt = [u8; 24];

/// Where a user's wraps are stored; tells nothing without the user's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Locator(pub(crate) [u8; 16]);

/// What a sealed record is and where it belongs. Its bytes are part of both the key derivation
/// and the AAD of every record sealed under a read secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Version of the record's own format.
    pub(crate) format: u8,
    /// The index.
    pub(crate) index: IndexId,
    /// The epoch of the read secret.
    pub(crate) epoch: u32,
    /// The kind byte of the RocksDB key.
    pub(crate) kind: u8,
    /// Pseudonym, or a number in the low eight bytes.
    pub(crate) id: [u8; 16],
    /// Version or generation: the sequence of the commit that wrote it.
    pub(crate) version: u64,
}

impl Place {
    pub(crate) const LENGTH: usize = 46;

    /// format u8 | index 16 | epoch u32 | kind u8 | id 16 | version u64.
    pub(crate) fn bytes(&self) -> [u8; Self::LENGTH] {
        let Self { format, index, epoch, kind, id, version } = *self;
        let mut out = [0; Self::LENGTH];
        let fields: [&[u8]; 6] =
            [&[format], &index.0, &epoch.to_be_bytes(), &[kind], &id, &version.to_be_bytes()];
        let mut rest = &mut out[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        out
    }
}

/// `Extract(salt = label | index id, index key)`
pub(crate) fn root_prk(index: IndexId, key: &IndexKey) -> Secret {
    extract(&[EXTRACT_ROOT, &index.0], key.expose())
}

/// `Extract(salt = label | index id | user id, user key)`
pub(crate) fn user_prk(index: IndexId, user: UserId, key: &UserKey) -> Secret {
    extract(&[EXTRACT_USER, &index.0, user.as_bytes()], key.expose())
}

/// `SHA-256`-sized `HMAC(db_salt, label | length u32 | name)[..16]`: where a name is found.
/// The salt is not secret: a thief of the files can test guesses of a name.
pub(crate) fn name_place(db_salt: &[u8; 32], name: &str) -> [u8; 16] {
    prefixed_hmac(&keyed(db_salt), NAME, name.as_bytes())
}

/// The keys of one caller in one index.
pub(crate) struct Prk(Hkdf<Sha256>);

impl Prk {
    pub(crate) fn new(prk: &Secret) -> Self {
        Self(expander(prk))
    }

    /// `Expand(PRK, label)[..16]`. For the root this doubles as the key-check value: a wrong key
    /// looks in a place where no wrap is.
    pub(crate) fn locator(&self) -> Locator {
        Locator(expand(&self.0, &[LOCATOR]))
    }

    /// `Expand(PRK, label | header | salt) = key 32 | commitment 32`
    pub(crate) fn wrap_key(&self, header: &[u8], salt: &Salt) -> (Key, [u8; 32]) {
        committed(&self.0, &[WRAP, header, salt])
    }

    /// `Expand(PRK_root, label)`: the seed of the Ed25519 key that signs grant tables.
    pub(crate) fn root_sign_seed(&self) -> Secret {
        Secret::new(expand(&self.0, &[ROOT_SIGN]))
    }

    /// `Expand(PRK_root, label | user id)[..16]`: where a user's roster record is.
    pub(crate) fn roster_place(&self, user: UserId) -> [u8; 16] {
        expand(&self.0, &[ROSTER_PLACE, user.as_bytes()])
    }

    /// `Expand(PRK_root, label | header | salt) = key 32 | commitment 32`
    pub(crate) fn roster_key(&self, header: &[u8], salt: &Salt) -> (Key, [u8; 32]) {
        committed(&self.0, &[ROSTER, header, salt])
    }
}

/// The read secret of one epoch.
pub(crate) struct ReadSecret(Hkdf<Sha256>);

impl ReadSecret {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(expander(secret))
    }

    /// `Expand(read secret, label of the purpose | place | salt)`: a key for one seal, or for the
    /// three fields of one payload, whose nonces differ.
    pub(crate) fn single_use(&self, purpose: Purpose, place: &Place, salt: &Salt) -> Key {
        Zeroizing::new(expand(&self.0, &[purpose.label(), &place.bytes(), salt]))
    }

    /// `Expand(read secret, label | index id)[..16]`: names this secret in the plaintext cache.
    pub(crate) fn fingerprint(&self, index: IndexId) -> [u8; 16] {
        expand(&self.0, &[CACHE, &index.0])
    }

    /// `Expand(read secret, label | index id | salt)`: seals a list cursor.
    pub(crate) fn cursor_key(&self, index: IndexId, salt: &Salt) -> Key {
        Zeroizing::new(expand(&self.0, &[CURSOR, &index.0, salt]))
    }
}

/// The name secret: an id keeps its pseudonym for the life of the index.
pub(crate) struct Names(Hmac<Sha256>);

impl Names {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(keyed(secret.expose()))
    }

    /// `HMAC(name secret, label | length u32 | id)[..16]`
    pub(crate) fn item(&self, id: &str) -> [u8; 16] {
        prefixed_hmac(&self.0, PSEUDONYM, id.as_bytes())
    }

    /// `HMAC(name secret, label | length u32 | field or word)[..16]`: where the attribute index
    /// keeps it.
    pub(crate) fn attribute(&self, word: &[u8]) -> [u8; 16] {
        prefixed_hmac(&self.0, ATTRIBUTE_PLACE, word)
    }

    /// `HMAC(name secret, label)`: the seed of the rotation that codes are taken in. It lives as
    /// long as the name secret, so codes stay comparable when read secrets change.
    pub(crate) fn rotation_seed(&self) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(ROTATION);
        mac.finalize().into_bytes().into()
    }
}

fn extract(salt: &[&[u8]], key: &[u8]) -> Secret {
    let salt = salt.concat();
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(&salt), key);
    let secret = Secret::new(prk.into());
    prk.as_mut_slice().zeroize();
    secret
}

#[expect(clippy::expect_used, reason = "HKDF refuses only PRKs under 32 bytes")]
fn expander(prk: &Secret) -> Hkdf<Sha256> {
    Hkdf::from_prk(prk.expose()).expect("a PRK of 32 bytes")
}

#[expect(clippy::expect_used, reason = "HKDF refuses only outputs over 8,160 bytes")]
fn expand<const N: usize>(prk: &Hkdf<Sha256>, info: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 64) }
    let mut out = [0; N];
    expand_into(prk, info, &mut out).expect("at most 64 bytes");
    out
}

fn expand_into(prk: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) -> Option<()> {
    prk.expand_multi_info(info, out).ok()
}

/// Lets the published vectors run through the same Extract and Expand; returns the PRK.
#[cfg(test)]
pub(crate) fn hkdf_raw(
    salt: &[&[u8]],
    key: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Option<Secret> {
    let prk = extract(salt, key);
    expand_into(&expander(&prk), info, out)?;
    Some(prk)
}

fn committed(prk: &Hkdf<Sha256>, info: &[&[u8]]) -> (Key, [u8; 32]) {
    let both: Zeroizing<[u8; 64]> = Zeroizing::new(expand(prk, info));
    let mut key = Zeroizing::new([0; 32]);
    let mut commitment = [0; 32];
    let (left, right) = both.split_at(32);
    key.copy_from_slice(left);
    commitment.copy_from_slice(right);
    (key, commitment)
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn prefixed_hmac(keyed: &Hmac<Sha256>, label: &[u8], text: &[u8]) -> [u8; 16] {
    let mut mac = keyed.clone();
    mac.update(label);
    mac.update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    mac.update(text);
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut out = [0; 16];
    out.copy_from_slice(full.split_at(16).0);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PURPOSES: [Purpose; 5] =
        [Purpose::Record, Purpose::Payload, Purpose::Commit, Purpose::Table, Purpose::Node];

    #[test]
    fn labels_are_distinct_and_prefix_free() {
        let mut labels: Vec<&[u8]> = vec![
            EXTRACT_ROOT,
            EXTRACT_USER,
            LOCATOR,
            WRAP,
            ROOT_SIGN,
            ROSTER,
            ROSTER_PLACE,
            PSEUDONYM,
            ROTATION,
            CACHE,
            CURSOR,
            NAME,
            COMMIT_HASH,
            FOLD_HASH,
            TABLE_HASH,
            COMMIT_SIGNATURE,
            TABLE_SIGNATURE,
        ];
        labels.extend(PURPOSES.map(Purpose::label));
        labels.push(SET_ELEMENT.as_bytes());
        for (i, a) in labels.iter().enumerate() {
            let inner = a.strip_suffix(&[0]).unwrap_or(a);
            assert!(!inner.contains(&0));
            for (j, b) in labels.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{i} {j}");
            }
        }
    }

    #[test]
    fn every_input_of_a_single_use_key_changes_it() {
        let secret = ReadSecret::new(&Secret::new([1; 32]));
        let base = Place {
            format: 1,
            index: IndexId([2; 16]),
            epoch: 3,
            kind: 4,
            id: [5; 16],
            version: 6,
        };
        let places = [
            base,
            Place { format: 9, ..base },
            Place { index: IndexId([9; 16]), ..base },
            Place { epoch: 9, ..base },
            Place { kind: 9, ..base },
            Place { id: [9; 16], ..base },
            Place { version: 9, ..base },
        ];
        let mut seen = HashSet::new();
        for purpose in PURPOSES {
            for place in &places {
                for salt in [[0; 24], [1; 24]] {
                    assert!(seen.insert(*secret.single_use(purpose, place, &salt)));
                }
            }
        }
    }
}
