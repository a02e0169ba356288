//! One object through every filter, and through changes of fields that are somewhere or nowhere: nothing panics, what is
//! told can be read, holds what was put in, and is told the same when it comes again.
#![no_main]

use edge_hub::filter::facts::{Facts, HubPlace, Membership, Topology};
use edge_hub::filter::{Filter, Judge, Kind, Rules, Verdict};
use edge_hub::object::edit::{Edits, Field, Node, Value};
use edge_hub::object::{Encoding, read_meta, read_single};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use std::rc::Rc;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, kind], body)) = data.split_first_chunk() else {
        return;
    };
    let enc = if how & 1 == 0 {
        Encoding::Json
    } else {
        Encoding::Protobuf
    };
    // A whole body, as the seeds are, or an object of a list.
    let bare = read_single(enc, body).map_or(body, |(_, _, bare)| bare);
    filters(enc, kind, bare);
    edits(enc, bare);
});

fn filters(enc: Encoding, kind: u8, bare: &[u8]) {
    let kind = [
        Kind::ConfigMap,
        Kind::Secret,
        Kind::Service,
        Kind::Pod,
        Kind::Endpoints,
        Kind::EndpointSlice,
        Kind::EndpointSliceBeta,
    ][usize::from(kind % 7)];
    let mut rules = Rules::default();
    for filter in Filter::ALL {
        rules.add(filter, "x");
    }
    let hub = HubPlace {
        first: "169.254.2.1".parse().expect("an address"),
        other: "fd00::2:1".parse().ok(),
        port: 10268,
    };
    let topology = |(name, topology): (&str, Topology)| (name.to_owned(), topology);
    let facts = Facts {
        node: "a".to_owned(),
        hub: Some(hub),
        hub_ca: Some("hub\n".to_owned()),
        pool: Membership::In("p".to_owned()),
        pool_nodes: Some(["b".to_owned()].into()),
        zone: Some("z".to_owned()),
        topologies: Some(
            [
                ("/", Topology::Node),
                ("n/s", Topology::Zone),
                ("t-read/s000", Topology::Pool),
            ]
            .map(topology)
            .into(),
        ),
        pod_ips: [("u".to_owned(), vec![hub.first])].into(),
    };
    let judge = Judge {
        set: rules.of("x", kind),
        kind,
        facts: Rc::new(facts),
    };
    if let Ok(Verdict::Replace(told)) = judge.of(enc, bare) {
        is_whole(enc, bare, &told);
        let again = judge.of(enc, &told);
        assert_eq!(again, Ok(Verdict::Keep), "{}", told.escape_ascii());
    }
}

const A: Field = Field::new("a", 2);
const B: Field = Field::new("b", 18);
const C: Field = Field::new("c", 30);

/// Sets fields of the object and of one in it, and takes items away.
fn edits(enc: Encoding, bare: &[u8]) {
    let object = Node::object(enc, bare);
    let Ok(mut edits) = Edits::new(&object) else {
        return;
    };
    let inner = object.get(A);
    let mut set = |node: &Node<'_>| {
        edits.set(node, C, Value::Text("\u{1f600}\"\n"))?;
        let mut odd = false;
        edits.remove(node, B, &mut |_| {
            odd = !odd;
            Ok(odd)
        })
    };
    let Ok(left) = set(&object) else { return };
    let in_inner = match &inner {
        Ok(Some(inner)) => match set(inner) {
            Ok(left) => Some(left),
            Err(_) => return,
        },
        _ => None,
    };
    let Ok(Some(told)) = edits.finish() else {
        return;
    };
    is_whole(enc, bare, &told);
    let object = Node::object(enc, &told);
    let check = |node: &Node<'_>, left: usize| {
        assert!(node.has(C, "\u{1f600}\"\n").expect("what was set"));
        assert_eq!(node.items(B).expect("a list").len(), left);
    };
    check(&object, left);
    if let Some(left) = in_inner {
        check(&object.get(A).expect("as before").expect("as before"), left);
    }
}

/// What was well formed is so still.
fn is_whole(enc: Encoding, was: &[u8], is: &[u8]) {
    let is_json = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    if enc == Encoding::Json && is_json(was) {
        assert!(is_json(is), "{}", is.escape_ascii());
    }
    if read_meta(enc, was).is_ok() {
        assert!(read_meta(enc, is).is_ok(), "{}", is.escape_ascii());
    }
}
