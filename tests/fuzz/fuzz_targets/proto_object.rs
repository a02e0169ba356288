//! One protobuf object, enveloped and bare: what is written is opened again as the same.
#![no_main]

use edge_hub::object::essence::essence;
use edge_hub::object::{
    Encoding, canonical, open_single, put_with_version, read_meta, write_single,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let enc = Encoding::Protobuf;
    essence(enc, "", "pods", data);
    if let Ok((_, meta)) = read_meta(enc, data) {
        let mut out = Vec::new();
        if put_with_version(enc, data, "12345", &mut out).is_ok() {
            let (_, now) = read_meta(enc, &out).expect("what was read can be read");
            assert_eq!((&now.name, &now.uid), (&meta.name, &meta.uid));
            let had = !meta.resource_version.is_empty();
            assert!(!had || now.resource_version == "12345");
        }
    }
    if let Ok((type_meta, bare)) = open_single(enc, data) {
        let stored = canonical(enc, &type_meta, bare);
        assert_eq!(stored, bare);
        let mut out = Vec::new();
        write_single(enc, &type_meta, &stored, &mut out);
        assert_eq!(open_single(enc, &out), Ok((type_meta, bare)));
        // The same bytes but for varints that were longer than they need be, or fields in another order or repeated.
        assert!(out.len() <= data.len() + 4);
        for cut in 0..out.len() {
            assert!(open_single(enc, &out[..cut]).is_err());
        }
    }
});
