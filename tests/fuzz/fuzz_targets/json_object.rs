//! One JSON object: the scanner takes what serde_json takes and nothing else, and what is written is what came.
#![no_main]

use edge_hub::object::essence::essence;
use edge_hub::object::{
    Encoding, Malformed, canonical, open_single, put_with_version, read_meta, write_single,
};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    essence(Encoding::Json, "", "pods", data);
    let ours = read_meta(Encoding::Json, data);
    if let Ok((_, meta)) = &ours {
        let mut out = Vec::new();
        if put_with_version(Encoding::Json, data, "12345", &mut out).is_ok() {
            let (_, now) = read_meta(Encoding::Json, &out).expect("what was read can be read");
            assert_eq!((&now.name, &now.uid), (&meta.name, &meta.uid));
            assert_eq!(now.resource_version, "12345");
            assert_eq!(out.len() - 5, data.len() - meta.resource_version.len());
        }
    }
    let theirs = serde_json::from_slice::<IgnoredAny>(data);
    match (&ours, &theirs) {
        (Ok(_), Err(e)) => panic!("taken, but {e}"),
        (Err(Malformed::Syntax | Malformed::Truncated), Ok(_)) => panic!("refused"),
        _ => {}
    }
    if let (Ok((_, meta)), Ok(value)) = (&ours, serde_json::from_slice::<serde_json::Value>(data)) {
        // serde_json replaces repeated metadata where Go and we merge it: what it shows is the least there is.
        if let Some(name) = value
            .pointer("/metadata/name")
            .and_then(|name| name.as_str())
        {
            assert_eq!(meta.name, name);
        }
    }
    if let Ok((type_meta, bare)) = open_single(Encoding::Json, data) {
        let stored = canonical(Encoding::Json, &type_meta, bare);
        assert_eq!(canonical(Encoding::Json, &type_meta, &stored), stored);
        let mut out = Vec::new();
        write_single(Encoding::Json, &type_meta, &stored, &mut out);
        assert_eq!(out.strip_suffix(b"\n"), Some(bare));
        assert_eq!(open_single(Encoding::Json, &out), Ok((type_meta, bare)));
    }
});
