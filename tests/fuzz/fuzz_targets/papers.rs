//! What comes as certificates, keys and answers about them: PEM with a pair, PEM with CAs, a CertificateSigningRequest, and
//! `cluster-info` with the kubeconfig in it. Nothing panics, and what is taken is of use.
#![no_main]

use edge_hub::certs::bootstrap_token::BootstrapToken;
use edge_hub::certs::cluster_info::{authorities, signed_kubeconfig};
use edge_hub::certs::csr::{Ask, Verdict, judge, read};
use edge_hub::certs::load::{Authorities, Pair};
use edge_hub::certs::renewal::renew_at;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("x");
    if let Ok(pair) = Pair::read_pem(data, path) {
        let again = Pair::read_pem(data, path).expect("once more");
        assert_eq!(pair, again);
        assert!(renew_at(&pair) >= pair.not_before_unix_secs());
    }
    if let Ok(certificates) = Authorities::read_pem(data, path) {
        assert!(!certificates.is_empty());
        let _ = Authorities::new(certificates, path);
    }
    let token = BootstrapToken::parse("abcdef.0123456789abcdef").expect("a token");
    // Nobody guesses a signature.
    assert!(signed_kubeconfig(data, &token).is_err());
    let text = String::from_utf8_lossy(data);
    if let Ok(certificates) = authorities(&text) {
        assert!(!certificates.is_empty());
    }
    let _ = token.has_signed(&text, &text);
    let _ = BootstrapToken::parse(&text);
    for status in [200, 403, 404, 409] {
        let verdict = judge(Ask::Look, status, data);
        if status == 200 {
            assert_eq!(matches!(verdict, Verdict::Answer(_)), read(data).is_ok());
        }
    }
});
