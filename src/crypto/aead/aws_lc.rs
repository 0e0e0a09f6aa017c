//! AES-256-GCM by AWS-LC: C and assembly, with wide AES (VAES) where the processor has it.
//!
//! Opening decrypts and hashes in one pass and compares the tag at the end; if it is wrong the
//! buffer is overwritten with zeros before the call returns.
//!
//! Wiping: the key schedule and the hash key are in one block of AWS-LC's heap, which no Rust value
//! holds a copy of. `LessSafeKey` has no `Drop` of its own; its pointer calls `EVP_AEAD_CTX_free`,
//! and so `OPENSSL_free`, which overwrites the block (`OPENSSL_cleanse`) before it gives it back. A
//! program that has set allocation functions of its own in AWS-LC has taken that on itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub(super) struct Aead(LessSafeKey);

impl Aead {
    #[expect(clippy::expect_used, reason = "refused are keys of another length, and a full heap")]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key")))
    }

    /// Encrypts `body` in place and returns the tag; nothing if `body` is over 64 GiB.
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts `body` in place, if the tag is right; else `body` is all zeros.
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        body: &mut [u8],
        tag: &[u8; 16],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(aad), tag, body).is_ok()
    }

    /// As [`open`](Self::open), from one place to another of the same length.
    pub(super) fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        body: &[u8],
        tag: &[u8; 16],
        out: &mut [u8],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), body, tag, out).is_ok()
    }
}
