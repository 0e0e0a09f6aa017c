//! AES-256-GCM by RustCrypto: Rust throughout, with the processor's AES and carry-less
//! multiplication where it has them.
//!
//! Opening checks the tag before it decrypts. Key schedule and hash key are wiped on drop by the
//! crate's `zeroize` feature.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};

pub(super) struct Aead(Aes256Gcm);

impl Aead {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Encrypts `body` in place and returns the tag; nothing if `body` is over 64 GiB.
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::from(*nonce);
        self.0.encrypt_inout_detached(&nonce, aad, body.into()).ok().map(Into::into)
    }

    /// Decrypts `body` in place, if the tag is right; else what `body` holds is not specified.
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        body: &mut [u8],
        tag: &[u8; 16],
    ) -> bool {
        let nonce = Nonce::from(*nonce);
        self.0.decrypt_inout_detached(&nonce, aad, body.into(), &Tag::from(*tag)).is_ok()
    }

    /// As [`open`](Self::open), from one place to another of the same length.
    #[cfg_attr(feature = "aws-lc", expect(dead_code, reason = "there only tests have both"))]
    pub(super) fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        body: &[u8],
        tag: &[u8; 16],
        out: &mut [u8],
    ) -> bool {
        let nonce = Nonce::from(*nonce);
        let Ok(buffer) = InOutBuf::new(body, out) else { return false };
        self.0.decrypt_inout_detached(&nonce, aad, buffer, &Tag::from(*tag)).is_ok()
    }
}
