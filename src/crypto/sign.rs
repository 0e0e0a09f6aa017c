//! Ed25519 (RFC 8032), checked strictly, with a prefix per purpose.
//!
//! The root signs grant tables; every writer signs its own commits. A MAC would not do: readers
//! hold the read secret, so a MAC under it would prove nothing about who wrote.
//!
//! Cost: about 25 us to sign, 47 us to verify (`cargo bench --bench crypto`). The public key of a
//! writer is stored beside its seed, because deriving it costs as much as a signature. Finding its
//! point takes a square root, so each thread keeps that of the key it signed with last; it is public.

use std::cell::Cell;

use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::Secret;
use super::kdf::Signed;
use crate::error::Result;

/// The bytes of a public key.
pub(crate) type PublicKey = [u8; 32];

/// The bytes of a signature.
pub(crate) const SIGNATURE: usize = 64;

/// An Ed25519 seed with its public key.
pub(crate) struct KeyPair {
    seed: Secret,
    public: PublicKey,
}

impl KeyPair {
    pub(crate) fn random() -> Result<Self> {
        Secret::random().map(Self::from_seed)
    }

    /// Derives the public key: about 19 us.
    pub(crate) fn from_seed(seed: Secret) -> Self {
        let public = SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes();
        Self { seed, public }
    }

    /// Puts a pair together again that was stored together, sealed. Signing with a public key that
    /// is not the seed's would give the seed away, so this takes only what a wrap held.
    pub(super) const fn from_wrap(seed: Secret, public: PublicKey) -> Self {
        Self { seed, public }
    }

    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whether the public key is that of the seed: about 19 us.
    pub(crate) fn is_whole(&self) -> bool {
        let public = SigningKey::from_bytes(self.seed.expose()).verifying_key().to_bytes();
        public == self.public
    }

    pub(crate) const fn seed(&self) -> &Secret {
        &self.seed
    }

    /// Signs `prefix | body`. `None` if the public key is not a point: a broken wrap.
    pub(crate) fn sign(&self, what: Signed, body: &[u8]) -> Option<[u8; SIGNATURE]> {
        self.sign_message(&[what.prefix(), body].concat())
    }

    fn sign_message(&self, message: &[u8]) -> Option<[u8; SIGNATURE]> {
        let public = point(&self.public)?;
        // RFC 8032, 5.1.5: the expanded secret key is SHA-512 of the seed.
        let expanded: Zeroizing<[u8; 64]> =
            Zeroizing::new(Sha512::digest(self.seed.expose()).into());
        let secret = ExpandedSecretKey::from_bytes(&expanded);
        Some(raw_sign::<Sha512>(&secret, message, &public).to_bytes())
    }
}

thread_local! {
    static LAST: Cell<Option<VerifyingKey>> = const { Cell::new(None) };
}

/// A public key as a point. `None` if it is none.
fn point(public: &PublicKey) -> Option<VerifyingKey> {
    let known = LAST.get().filter(|last| last.as_bytes() == public);
    known.or_else(|| {
        let key = VerifyingKey::from_bytes(public).ok()?;
        LAST.set(Some(key));
        Some(key)
    })
}

/// Whether `signature` is that of `public` over `prefix | body`, checked strictly: no small-order
/// keys, no malleable signatures.
pub(crate) fn verify(
    public: &PublicKey,
    what: Signed,
    body: &[u8],
    signature: &[u8; SIGNATURE],
) -> bool {
    verify_message(public, &[what.prefix(), body].concat(), signature)
}

fn verify_message(public: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
pub(crate) use tests::{sign_raw, verify_raw};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_bound_to_key_purpose_and_body() {
        let pair = KeyPair::from_seed(Secret::new([3; 32]));
        let signature = pair.sign(Signed::Commit, b"body").unwrap();
        assert!(verify(pair.public(), Signed::Commit, b"body", &signature));
        assert!(!verify(pair.public(), Signed::Table, b"body", &signature));
        assert!(!verify(pair.public(), Signed::Commit, b"bodY", &signature));
        let other = KeyPair::from_seed(Secret::new([4; 32]));
        assert!(!verify(other.public(), Signed::Commit, b"body", &signature));
        for bit in 0..512 {
            let mut bad = signature;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(pair.public(), Signed::Commit, b"body", &bad));
        }
    }

    #[test]
    fn the_stored_public_key_signs_as_the_derived_one() {
        use ed25519_dalek::Signer;
        let pair = KeyPair::from_seed(Secret::new([5; 32]));
        let plain = SigningKey::from_bytes(&[5; 32]);
        let message = [Signed::Table.prefix(), b"x"].concat();
        assert_eq!(pair.sign(Signed::Table, b"x").unwrap(), plain.sign(&message).to_bytes());
    }

    #[test]
    fn keys_that_sign_in_turns_do_not_take_each_others_point() {
        let pairs = [6, 7].map(|seed| KeyPair::from_seed(Secret::new([seed; 32])));
        for pair in [&pairs[0], &pairs[1], &pairs[0], &pairs[0], &pairs[1]] {
            let signature = pair.sign(Signed::Commit, b"body").unwrap();
            assert!(verify(pair.public(), Signed::Commit, b"body", &signature));
        }
        // No point has this for its y coordinate.
        let broken = KeyPair::from_wrap(Secret::new([6; 32]), [2; 32]);
        assert!(VerifyingKey::from_bytes(broken.public()).is_err());
        assert!(broken.sign(Signed::Commit, b"body").is_none());
    }

    /// Lets the published vectors run through the same signing.
    pub(crate) fn sign_raw(pair: &KeyPair, message: &[u8]) -> [u8; 64] {
        pair.sign_message(message).unwrap()
    }

    /// Lets the published vectors run through the same verification.
    pub(crate) fn verify_raw(public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        verify_message(public, message, signature)
    }
}
