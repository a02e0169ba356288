//! A watch stream in chunks: frames do not depend on how it is cut, no byte is lost, and what is written is parsed again
//! as the same event.
#![no_main]

use bytes::Bytes;
use edge_hub::object::{Encoding, canonical};
use edge_hub::watch::event::{self, Event};
use edge_hub::watch::frame::{Framer, Step};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, step], stream)) = data.split_first_chunk() else {
        return;
    };
    let enc = if how & 1 == 0 {
        Encoding::Json
    } else {
        Encoding::Protobuf
    };
    let whole = split(enc, stream, stream.len().max(1));
    assert_eq!(split(enc, stream, 1), whole);
    assert_eq!(split(enc, stream, usize::from(step).max(1)), whole);
    assert_eq!([whole.0.concat(), whole.1].concat(), stream);
    for frame in &whole.0 {
        if let Ok(event) = event::parse(enc, frame) {
            check(enc, &event);
        }
    }
});

/// The whole frames, and all that follows them.
fn split(enc: Encoding, stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut framer = Framer::new(enc, FRAME_BYTES_MAX);
    let (mut frames, mut rest) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(step) {
        framer.push(Bytes::copy_from_slice(chunk));
        loop {
            match framer.next() {
                Step::Frame(frame) => {
                    assert!(rest.is_empty() && frame.len() <= FRAME_BYTES_MAX);
                    frames.push(frame.to_vec());
                }
                Step::TooLong(bytes) => rest.extend_from_slice(&bytes),
                Step::NeedMore => break,
            }
        }
        assert!(framer.pending() <= FRAME_BYTES_MAX);
    }
    rest.extend_from_slice(&framer.into_rest());
    (frames, rest)
}

fn check(enc: Encoding, event: &Event<'_>) {
    let type_meta = event.type_meta.clone().into_owned();
    let stored = canonical(enc, &type_meta, event.object);
    let mut out = Vec::new();
    event::write(enc, event.event_type, &type_meta, &stored, &mut out);
    let again = event::parse(enc, &out).expect("what we write is an event");
    let object: Vec<u8> = event
        .object
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    assert_eq!(
        again.object,
        if enc == Encoding::Json {
            object.as_slice()
        } else {
            event.object
        }
    );
    assert_eq!(
        Event {
            object: event.object,
            ..again
        },
        *event
    );
    // The writer's own output is what it writes again, byte for byte.
    let again = event::parse(enc, &out).expect("parsed above");
    let mut twice = Vec::new();
    event::write(
        enc,
        again.event_type,
        &type_meta,
        &canonical(enc, &type_meta, again.object),
        &mut twice,
    );
    assert_eq!(twice, out);
    assert!(split(enc, &out, 5).0.len() == 1 || out.len() > FRAME_BYTES_MAX);
}
