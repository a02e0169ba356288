//! What ConfigMaps of the cluster say. Nothing panics, what is kept of it is read again as the same, and saying it twice changes
//! nothing.
#![no_main]

use edge_hub::config::live::{Live, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut live = Live::default();
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    for source in Source::ALL {
        let Some(said) = parts.next() else { break };
        if live.take(source, Some(said)).is_ok() {
            assert_eq!(live.take(source, Some(said)), Ok(false));
        }
        assert!(live.wrong().iter().all(|line| line.contains("ConfigMap")));
    }
    let mut again = Live::default();
    live.items().for_each(|(name, text)| again.restore(&name, &text));
    assert!(live.agents().eq(again.agents()) && live.filters().eq(again.filters()));
    for source in Source::ALL {
        live.take(source, None).expect("nothing is read");
    }
    assert_eq!(live, Live::default());
});
