//! What an API server tells of its issuer: keys and configuration. What is taken is kept and read back as the same.
#![no_main]

use edge_hub::access::issuer::Issuer;
use edge_hub::access::jwks;
use libfuzzer_sys::fuzz_target;

const CONFIGURATION: &[u8] = br#"{"issuer":"i"}"#;
const DOCUMENT: &[u8] = br#"{"keys":[{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"}]}"#;

fuzz_target!(|data: &[u8]| {
    let mut issuer = Issuer::default();
    issuer.told(CONFIGURATION, DOCUMENT);
    let taken = issuer.told(CONFIGURATION, data).is_some();
    assert_eq!(taken, jwks::read(data).is_some());
    issuer.told(data, DOCUMENT);
    let _ = issuer.verify(b"e30.e30.e30", 1);
    let mut again = Issuer::default();
    for (part, value) in issuer.parts() {
        again.restore(part, &value);
        Issuer::default().restore(part, data);
    }
    assert_eq!(again, issuer);
});
