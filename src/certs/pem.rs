//! DER into PEM (RFC 7468). Pure. The way back is `rustls::pki_types::pem`.

/// The block `label` around `der`, in lines of 64 letters.
pub fn encode(label: &str, der: &[u8]) -> String {
    const LINE_BYTES: usize = 48;
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(LINE_BYTES) {
        line.chunks(3).for_each(|group| out.extend(letters(group)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Base64 (RFC 4648 section 4) of one to three bytes.
fn letters(group: &[u8]) -> [char; 4] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    std::array::from_fn(|at| match at <= group.len() {
        true => char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]),
        false => '=',
    })
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
