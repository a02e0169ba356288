//! The guard before hyper: what passes does not depend on how the bytes are cut, only whole sound heads pass, and at
//! most one request is put in the place of a refused one.
#![no_main]

use edge_hub::server::guard::{Guard, REFUSED_PATH};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((step, bytes)) = data.split_first() else {
        return;
    };
    let run = |size: usize| {
        let (mut guard, mut out) = (Guard::default(), Vec::new());
        bytes
            .chunks(size)
            .for_each(|piece| guard.take(piece, &mut out));
        (out, guard.refusal(), guard.in_head(), guard.in_body())
    };
    let whole = run(bytes.len().max(1));
    assert_eq!(run(1), whole);
    assert_eq!(run(usize::from(*step).max(1)), whole);
    let (out, refusal, ..) = whole;
    let stand_in = format!("GET {REFUSED_PATH} HTTP/1.1\r\n");
    assert_eq!(
        out.ends_with(b"host: refused\r\nconnection: close\r\n\r\n")
            && find(&out, stand_in.as_bytes()),
        refusal.is_some()
    );
});

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
