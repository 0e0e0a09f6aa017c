//! Each implementation opens what the other sealed, and refuses what it did not.

use super::{aws_lc, rustcrypto};

/// One implementation, as functions of whole seals.
struct Side {
    name: &'static str,
    seal: Call<Vec<u8>>,
    open: Call<Option<Vec<u8>>>,
}

/// Takes key, nonce, AAD and plaintext or seal.
type Call<T> = fn(&[u8; 32], &[u8; 12], &[u8], &[u8]) -> T;

macro_rules! side {
    ($module:ident) => {
        Side {
            name: stringify!($module),
            seal: |key, nonce, aad, plain| {
                let mut body = plain.to_vec();
                let tag = $module::Aead::new(key).seal(nonce, aad, &mut body).unwrap();
                body.extend_from_slice(&tag);
                body
            },
            open: |key, nonce, aad, sealed| {
                let (body, tag) = sealed.split_last_chunk().unwrap();
                let mut body = body.to_vec();
                $module::Aead::new(key).open(nonce, aad, &mut body, tag).then_some(body)
            },
        }
    };
}

const SIDES: [(Side, Side); 2] =
    [(side!(rustcrypto), side!(aws_lc)), (side!(aws_lc), side!(rustcrypto))];

/// Bytes that differ by `seed` and place.
fn bytes<const N: usize>(seed: usize) -> [u8; N] {
    vector(seed, N).try_into().unwrap()
}

fn vector(seed: usize, len: usize) -> Vec<u8> {
    let mut state = u32::try_from(seed).unwrap();
    let mut byte = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| byte()).collect()
}

#[test]
fn each_opens_what_the_other_sealed() {
    for (one, other) in &SIDES {
        for (i, len) in (0..=70).chain([1_500, 65_536]).enumerate() {
            for aad_len in [0, 1, 15, 16, 17, 61 + i] {
                let (key, nonce) = (bytes(i), bytes(1000 + i));
                let (aad, plain) = (vector(2000 + i, aad_len), vector(3000 + i, len));
                let sealed = (one.seal)(&key, &nonce, &aad, &plain);
                assert_eq!(sealed, (other.seal)(&key, &nonce, &aad, &plain), "{len} {aad_len}");
                let opened = (other.open)(&key, &nonce, &aad, &sealed);
                assert_eq!(opened, Some(plain), "{} {len} {aad_len}", other.name);
            }
        }
    }
}

#[test]
fn each_refuses_what_the_other_did_not_seal() {
    for (one, other) in &SIDES {
        for len in [0, 1, 16, 33] {
            let (key, nonce, aad) = (bytes(len), bytes(50 + len), vector(70, 20));
            let sealed = (one.seal)(&key, &nonce, &aad, &vector(60, len));
            let flipped = |bytes: &[u8], bit: usize| {
                let mut bytes = bytes.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            };
            for bit in 0..sealed.len() * 8 {
                let bad = (other.open)(&key, &nonce, &aad, &flipped(&sealed, bit));
                assert_eq!(bad, None, "{} {len}: bit {bit} of the seal", other.name);
            }
            for bit in 0..aad.len() * 8 {
                let bad = (other.open)(&key, &nonce, &flipped(&aad, bit), &sealed);
                assert_eq!(bad, None, "{} {len}: bit {bit} of the AAD", other.name);
            }
            for bit in 0..nonce.len() * 8 {
                let nonce = flipped(&nonce, bit).try_into().unwrap();
                let bad = (other.open)(&key, &nonce, &aad, &sealed);
                assert_eq!(bad, None, "{} {len}: bit {bit} of the nonce", other.name);
            }
            for bit in 0..key.len() * 8 {
                let key = flipped(&key, bit).try_into().unwrap();
                let bad = (other.open)(&key, &nonce, &aad, &sealed);
                assert_eq!(bad, None, "{} {len}: bit {bit} of the key", other.name);
            }
        }
    }
}

#[test]
fn a_refused_body_is_wiped_by_aws_lc() {
    let mut body = [7; 100];
    let sealed_by = aws_lc::Aead::new(&[1; 32]);
    let mut tag = sealed_by.seal(&[2; 12], b"aad", &mut body).unwrap();
    tag[3] ^= 1;
    assert!(!sealed_by.open(&[2; 12], b"aad", &mut body, &tag));
    assert_eq!(body, [0; 100]);
}
