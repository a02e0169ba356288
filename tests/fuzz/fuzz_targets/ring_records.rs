//! The records of a frame: nothing is read beyond what is there, what is read can be written and read again, and what is
//! wrong ends them.
#![no_main]

use edge_hub::store::ring::record::{Record, Records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut read: Vec<Record<'_>> = Vec::new();
    let mut records = Records(data);
    let is_whole = loop {
        match records.next() {
            None => break true,
            Some(Ok(record)) => read.push(record),
            Some(Err(_)) => {
                assert_eq!(records.next(), None);
                break false;
            }
        }
    };
    assert!(read.len() <= data.len());
    let mut written = Vec::new();
    read.iter().for_each(|record| record.write(&mut written));
    // Numbers may have been written longer than they need.
    assert!(written.len() <= data.len());
    assert_eq!(is_whole, Records(data).all(|record| record.is_ok()));
    let again: Vec<_> = Records(&written)
        .collect::<Result<_, _>>()
        .expect("what was read can be read again");
    assert_eq!(again, read);
});
