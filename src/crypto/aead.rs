//! AES-256-GCM, and the one rule about nonces: a nonce is fixed by what is sealed, because every
//! key is single-use.
//!
//! A lone seal uses [`WHOLE`]. A value that may be split, or that shares its key with sibling
//! fields, uses [`part_nonce`]: field, part number and last flag. So a missing, extra or re-ordered
//! part does not open, and no nonce repeats under a key.
//!
//! Layout of a seal: ciphertext | tag (16 bytes). Whatever does not open leaves no plaintext.
//!
//! There are two implementations of the same bytes, chosen when the crate is built: RustCrypto's,
//! and AWS-LC's with the feature `aws-lc`. Tests with that feature have both, to open what the
//! other sealed.

use super::kdf::Key;

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(test)]
#[cfg(feature = "aws-lc")]
mod interop;
#[cfg(any(test, not(feature = "aws-lc")))]
mod rustcrypto;

#[cfg(feature = "aws-lc")]
use aws_lc::Aead;
#[cfg(not(feature = "aws-lc"))]
use rustcrypto::Aead;

/// The bytes a seal adds.
pub(crate) const TAG: usize = 16;

/// The nonce of a lone seal under its own key.
pub(crate) const WHOLE: [u8; 12] = [0; 12];

/// field u8 | part u32 | last flag u8 | six zero bytes. `field` is never 0, so that no part shares
/// the nonce of a lone seal.
pub(crate) const fn part_nonce(field: u8, part: u32, last: bool) -> [u8; 12] {
    let [a, b, c, d] = part.to_be_bytes();
    [field, a, b, c, d, last as u8, 0, 0, 0, 0, 0, 0]
}

/// A key, scheduled. Wiped on drop by the implementation.
pub(crate) struct Cipher {
    aead: Aead,
    #[cfg(test)]
    key: [u8; 32],
}

impl Cipher {
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            aead: Aead::new(key),
            #[cfg(test)]
            key: **key,
        }
    }

    /// Appends ciphertext and tag to `out`.
    #[expect(clippy::expect_used, reason = "GCM refuses only plaintext over 64 GiB")]
    pub(crate) fn seal_onto(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        #[cfg(test)]
        recorder::record(&self.key, nonce);
        let start = out.len();
        out.reserve(plain.len().saturating_add(TAG));
        out.extend_from_slice(plain);
        let (_, body) = out.split_at_mut(start);
        let tag = self.aead.seal(nonce, aad, body).expect("plaintext is bounded far below 64 GiB");
        out.extend_from_slice(&tag);
    }

    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len().saturating_add(TAG));
        self.seal_onto(nonce, aad, plain, &mut out);
        out
    }

    /// Appends the plaintext to `out`; on failure `out` is as before.
    #[must_use = "the plaintext is there only if this is true"]
    pub(crate) fn open_onto(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((body, tag)) = sealed.split_last_chunk::<TAG>() else { return false };
        let start = out.len();
        out.extend_from_slice(body);
        let (_, buffer) = out.split_at_mut(start);
        let opened = self.aead.open(nonce, aad, buffer, tag);
        if !opened {
            out.truncate(start);
        }
        opened
    }

    /// Puts the plaintext into `out`, in place of what it held; on failure `out` is empty. Memory
    /// that `out` has is written over and not cleared before.
    #[must_use = "the plaintext is there only if this is true"]
    pub(crate) fn open_over(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let opened = sealed.split_last_chunk::<TAG>().is_some_and(|(body, tag)| {
            out.resize(body.len(), 0);
            self.aead.open_into(nonce, aad, body, tag, out)
        });
        if !opened {
            out.clear();
        }
        opened
    }

    pub(crate) fn open(&self, nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(sealed.len().saturating_sub(TAG));
        self.open_onto(nonce, aad, sealed, &mut out).then_some(out)
    }
}

/// Records every (key, nonce) pair that this thread seals with, for the test that none repeats.
#[cfg(test)]
pub(crate) mod recorder {
    use std::cell::RefCell;
    use std::collections::HashSet;

    thread_local! {
        static SEEN: RefCell<Option<(HashSet<[u8; 44]>, usize)>> = const { RefCell::new(None) };
    }

    pub(crate) fn start() {
        SEEN.with_borrow_mut(|seen| *seen = Some((HashSet::new(), 0)));
    }

    /// The number of seals and of distinct (key, nonce) pairs since [`start`].
    pub(crate) fn stop() -> (usize, usize) {
        SEEN.with_borrow_mut(|seen| seen.take().map_or((0, 0), |(set, seals)| (seals, set.len())))
    }

    pub(super) fn record(key: &[u8; 32], nonce: &[u8; 12]) {
        SEEN.with_borrow_mut(|seen| {
            if let Some((set, seals)) = seen {
                let mut pair = [0; 44];
                pair[..32].copy_from_slice(key);
                pair[32..].copy_from_slice(nonce);
                set.insert(pair);
                *seals += 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn every_change_is_refused() {
        let cipher = Cipher::new(&Zeroizing::new([7; 32]));
        let nonce = part_nonce(1, 2, true);
        let sealed = cipher.seal(&nonce, b"aad", b"plaintext");
        assert_eq!(cipher.open(&nonce, b"aad", &sealed).as_deref(), Some(&b"plaintext"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher.open(&nonce, b"aad", &bad), None);
        }
        for length in 0..sealed.len() {
            assert_eq!(cipher.open(&nonce, b"aad", &sealed[..length]), None);
        }
        assert_eq!(cipher.open(&nonce, b"aae", &sealed), None);
        for other in
            [WHOLE, part_nonce(1, 2, false), part_nonce(1, 3, true), part_nonce(2, 2, true)]
        {
            assert_eq!(cipher.open(&other, b"aad", &sealed), None);
        }
        assert_eq!(Cipher::new(&Zeroizing::new([8; 32])).open(&nonce, b"aad", &sealed), None);
        let mut kept = b"before".to_vec();
        assert!(!cipher.open_onto(&nonce, b"x", &sealed, &mut kept));
        assert_eq!(kept, b"before");
    }

    #[test]
    fn opening_over_old_bytes_gives_the_plaintext_or_nothing() {
        let cipher = Cipher::new(&Zeroizing::new([7; 32]));
        let mut out = vec![9; 1000];
        for length in [0, 1, 15, 16, 17, 500, 999, 1000, 1001, 5000] {
            let plain: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let sealed = cipher.seal(&WHOLE, b"aad", &plain);
            assert!(cipher.open_over(&WHOLE, b"aad", &sealed, &mut out));
            assert_eq!(out, plain);
            assert!(!cipher.open_over(&WHOLE, b"other", &sealed, &mut out));
            assert!(out.is_empty());
            out.resize(1000, 9);
        }
        assert!(!cipher.open_over(&WHOLE, b"aad", &[0; 15], &mut out) && out.is_empty());
    }
}
