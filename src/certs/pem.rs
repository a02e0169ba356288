//! DER into PEM (RFC 7468). Pure. The way back is `rustls::pki_types::pem`.

use crate::object::base64;

/// The block `label` around `der`, in lines of 64 letters.
pub fn encode(label: &str, der: &[u8]) -> String {
    const LINE_BYTES: usize = 48;
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(LINE_BYTES) {
        let mut letters = Vec::with_capacity(64);
        base64::put(line, &mut letters);
        out.extend(letters.into_iter().map(char::from));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn what_is_written_reads_back() {
        let bytes: Vec<u8> = (0..=255).cycle().take(600).collect();
        for len in 1..bytes.len() {
            let text = encode("CERTIFICATE", &bytes[..len]);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(
                &CertificateDer::from_pem_slice(text.as_bytes()).unwrap()[..],
                &bytes[..len]
            );
        }
        assert_eq!(
            encode("X", b"Ma"),
            "-----BEGIN X-----\nTWE=\n-----END X-----\n"
        );
    }
}
