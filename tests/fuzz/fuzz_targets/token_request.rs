//! A request for a token and its answer, in both encodings; and what is kept of them.
#![no_main]

use edge_hub::local::grants::{Grant, name};
use edge_hub::local::token_request::{Wish, granted};
use edge_hub::object::Encoding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let _ = granted(encoding, data);
        if let Some(wish) = Wish::read(encoding, data) {
            let other = Wish {
                expiration_secs: wish.expiration_secs ^ 1,
                ..wish.clone()
            };
            assert_ne!(wish.text(), other.text());
        }
    }
    if let Some(grant) = Grant::from_bytes(&"00".repeat(32), data) {
        assert_eq!(Grant::from_bytes(&name(&grant.key), &grant.to_bytes()), Some(grant));
    }
});
