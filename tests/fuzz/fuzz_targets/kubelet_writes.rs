//! What a kubelet writes and the hub looks at: statuses of pods, leases, events; and events as they are kept.
#![no_main]

use bytes::Bytes;
use edge_hub::local::journal::{self, Journal, Waiting};
use edge_hub::local::lease::Lease;
use edge_hub::local::pod_status::Report;
use edge_hub::local::reported::Reported;
use edge_hub::object::Encoding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(report) = Report::read(data) {
        assert!(report.ips.as_ref().is_none_or(|ips| ips.len() <= 2));
        let mut reported = Reported::default();
        reported.take(report.clone());
        assert!(!reported.take(report), "said again it says nothing new");
    }
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let _ = Lease::read(encoding, Bytes::copy_from_slice(data), "n");
        if let Ok(name) = journal::name(encoding, data, "n") {
            let event = Waiting {
                subject: [1; 32],
                path: "/n".to_owned(),
                content_type: String::new(),
                body: Bytes::copy_from_slice(data),
            };
            let mut journal = Journal::default();
            journal.put(&name, event.clone());
            assert!(journal.has(&event.subject, "/n", &name));
            assert_eq!(journal.put(&name, event).gone.len(), 1);
        }
    }
    if let Some(event) = Waiting::from_bytes(data) {
        assert_eq!(Waiting::from_bytes(&event.to_bytes()), Some(event));
    }
});
