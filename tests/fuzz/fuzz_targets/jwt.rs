//! A bearer token: as it comes, and with any header and payload, well signed. What is believed is what was signed.
#![no_main]

use std::sync::OnceLock;

use edge_hub::access::claims;
use edge_hub::access::jwks::{Key, Kind};
use edge_hub::access::jwt::{Trust, verify};
use edge_hub::access::ledger::{Entry, Ledger, account, read_item};
use libfuzzer_sys::fuzz_target;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

const NOW: u64 = 1_800_000_000;

fn pair() -> &'static EcdsaKeyPair {
    static PAIR: OnceLock<EcdsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).unwrap()
    })
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let of = |group: &[u8]| {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..=group.len())
            .map(|at| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]))
            .collect::<String>()
    };
    bytes.chunks(3).map(of).collect()
}

fuzz_target!(|data: &[u8]| {
    let signing = Key {
        id: "k".into(),
        kind: Kind::P256(pair().public_key().as_ref().to_vec()),
    };
    let rsa = Key {
        id: "k".into(),
        kind: Kind::Rsa {
            n: vec![0xc5; 256],
            e: vec![1, 0, 1],
        },
    };
    let audiences = ["a".to_owned()];
    let trust = Trust {
        issuer: "i",
        audiences: &audiences,
        keys: &[&rsa, &signing],
    };
    assert!(verify(data, &trust, NOW).is_err(), "signed by chance");
    let entry = Entry::new([7; 32], data, NOW);
    let mut ledger = Ledger::new("gw-1");
    ledger.put(entry.clone());
    let read = read_item(&ledger.items()[0].value);
    assert_eq!((read[0].who, read[0].expires), (entry.who, entry.expires));
    read_item(data);

    let (header, payload) = match data.iter().position(|b| *b == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&br#"{"alg":"ES256","kid":"k"}"#[..], data),
    };
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let signature = pair().sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    let token = format!("{message}.{}", base64url(signature.as_ref()));
    if let Ok(claims) = verify(token.as_bytes(), &trust, NOW) {
        std::str::from_utf8(payload).expect("text");
        // Where only what is skipped has half a surrogate pair, it reads nothing.
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) else {
            return;
        };
        assert_eq!(value["iss"], "i");
        assert_eq!(value["sub"], claims.subject);
        assert!(value["exp"].as_u64().is_some_and(|exp| exp > NOW));
        assert!(value["aud"] == "a" || value["aud"].as_array().unwrap().contains(&"a".into()));
        assert!(account(&claims).is_some());
        assert_eq!(claims::read(token.as_bytes()), Some(claims));
    }
});
