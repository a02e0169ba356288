//! Every filter on objects as real API servers of two releases have made them, in both encodings. They were written by
//! the test `client_go_reads_the_same` with `EDGE_HUB_RECORD=tests/objects`.

use std::path::PathBuf;
use std::rc::Rc;

use edge_hub::filter::facts::{Facts, HubPlace, Membership, Topology};
use edge_hub::filter::{Filter, Judge, Kind, Rules, Verdict};
use edge_hub::object::{Encoding, read_single};
use serde_json::Value;

/// An object, the kind that it is of, what the filters make of it, and the fields that they may change: as JSON calls them,
/// and by their numbers.
struct Case {
    name: &'static str,
    kind: Kind,
    stays: Stays,
    json: &'static [&'static [&'static str]],
    protobuf: &'static [&'static [u64]],
}

#[derive(PartialEq, Eq, Debug)]
enum Stays {
    AsItIs,
    Changed,
    Not,
}

const CASES: [Case; 10] = [
    Case {
        name: "service-kubernetes",
        kind: Kind::Service,
        stays: Stays::Changed,
        json: &[
            &["spec", "clusterIP"],
            &["spec", "clusterIPs"],
            &["spec", "ports"],
        ],
        protobuf: &[&[2, 3], &[2, 18], &[2, 1]],
    },
    Case {
        name: "service-topology",
        kind: Kind::Service,
        stays: Stays::AsItIs,
        json: &[],
        protobuf: &[],
    },
    Case {
        name: "service-node-port",
        kind: Kind::Service,
        stays: Stays::Not,
        json: &[],
        protobuf: &[],
    },
    Case {
        name: "service-cloud",
        kind: Kind::Service,
        stays: Stays::Not,
        json: &[],
        protobuf: &[],
    },
    Case {
        name: "slice-kubernetes",
        kind: Kind::EndpointSlice,
        stays: Stays::Changed,
        json: &[&["endpoints"], &["ports"]],
        protobuf: &[&[2], &[3]],
    },
    Case {
        name: "slice-topology",
        kind: Kind::EndpointSlice,
        stays: Stays::Changed,
        json: &[&["endpoints"]],
        protobuf: &[&[2]],
    },
    Case {
        name: "endpoints-topology",
        kind: Kind::Endpoints,
        stays: Stays::Changed,
        json: &[&["subsets"]],
        protobuf: &[&[2]],
    },
    Case {
        name: "config-map-root-ca",
        kind: Kind::ConfigMap,
        stays: Stays::Changed,
        json: &[&["data"]],
        protobuf: &[&[2]],
    },
    Case {
        name: "config-map-kube-proxy",
        kind: Kind::ConfigMap,
        stays: Stays::Changed,
        json: &[&["data"]],
        protobuf: &[&[2]],
    },
    Case {
        name: "pod",
        kind: Kind::Pod,
        stays: Stays::Changed,
        json: &[&["spec", "containers"], &["spec", "initContainers"]],
        protobuf: &[&[2, 2], &[2, 20]],
    },
];

fn judge(kind: Kind) -> Judge {
    let mut facts = Facts {
        node: "edge-read".to_owned(),
        hub: Some(HubPlace {
            first: "169.254.2.1".parse().expect("an address"),
            other: None,
            port: 10268,
        }),
        hub_ca: Some("-----BEGIN CERTIFICATE-----\nhub\n-----END CERTIFICATE-----\n".to_owned()),
        pool: Membership::In("read".to_owned()),
        ..Facts::default()
    };
    let topologies = ["t-read/s000", "t-read-134/s000"];
    let topologies = topologies.map(|service| (service.to_owned(), Topology::Node));
    facts.topologies = Some(topologies.into());
    let mut rules = Rules::default();
    for filter in Filter::ALL {
        rules.add(filter, "reader");
    }
    Judge {
        set: rules.of("reader", kind),
        kind,
        facts: Rc::new(facts),
    }
}

fn recorded(release: &str, name: &str, encoding: Encoding) -> Vec<u8> {
    let ending = match encoding {
        Encoding::Json => "json",
        Encoding::Protobuf => "pb",
    };
    let path = format!("tests/objects/{release}/{name}.{ending}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let body = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, _, bare) = read_single(encoding, &body).expect("an object");
    bare.to_vec()
}

const RELEASES: [&str; 2] = ["1.34", "1.36"];
const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

#[test]
fn nothing_else_changes_and_once_is_enough() {
    for release in RELEASES {
        for case in &CASES {
            for encoding in ENCODINGS {
                let object = recorded(release, case.name, encoding);
                check(case, encoding, &object);
            }
        }
    }
}

/// An object of a future version keeps the fields that nobody knows yet, wherever they are.
#[test]
fn fields_of_a_future_version_stay() {
    for release in RELEASES {
        for case in CASES.iter().filter(|case| case.stays != Stays::Not) {
            let text = recorded(release, case.name, Encoding::Json);
            let mut object: Value = serde_json::from_slice(&text).expect("JSON");
            put_in(&mut object);
            let newer = object.to_string();
            let told = check(case, Encoding::Json, newer.as_bytes());
            let told = String::from_utf8(told).expect("JSON");
            let count = |text: &str| text.matches("x-newer").count();
            // Endpoints that are taken away take theirs with them, and so does the source of a value.
            let takes = matches!(case.kind, Kind::EndpointSlice | Kind::Endpoints);
            let sources = newer.matches("\"valueFrom\"").count() * 2;
            let gone = count(&newer) - count(&told);
            assert!(takes || gone == sources, "{} {gone}", case.name);
            assert!(count(&told) > 1, "{}", case.name);
            let mut newer = recorded(release, case.name, Encoding::Protobuf);
            newer.extend_from_slice(b"\xfa\x7f\x05newer\xf8\x7f\x07");
            let told = check(case, Encoding::Protobuf, &newer);
            assert!(
                told.ends_with(b"\xfa\x7f\x05newer\xf8\x7f\x07"),
                "{}",
                case.name
            );
        }
    }
}

/// Puts a field into every object.
fn put_in(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(put_in),
        Value::Object(fields) => {
            fields.values_mut().for_each(put_in);
            fields.insert("x-newer".to_owned(), serde_json::json!([1, {}]));
        }
        _ => {}
    }
}

/// What is told of an object; only the fields of the case differ from it, and what was told stays as it is.
fn check(case: &Case, encoding: Encoding, object: &[u8]) -> Vec<u8> {
    let judge = judge(case.kind);
    let verdict = judge.of(encoding, object);
    let verdict = verdict.unwrap_or_else(|why| panic!("{} {encoding:?}: {why}", case.name));
    let told = match verdict {
        Verdict::Keep => object.to_vec(),
        Verdict::Replace(told) => told,
        Verdict::Drop => {
            assert_eq!(case.stays, Stays::Not, "{} {encoding:?}", case.name);
            return Vec::new();
        }
    };
    let stays = match told == object {
        true => Stays::AsItIs,
        false => Stays::Changed,
    };
    assert_eq!(stays, case.stays, "{} {encoding:?}", case.name);
    let again = judge.of(encoding, &told);
    assert_eq!(again, Ok(Verdict::Keep), "{} {encoding:?}", case.name);
    match encoding {
        Encoding::Json => {
            let (mut was, mut is): (Value, Value) = (
                serde_json::from_slice(object).expect("JSON"),
                serde_json::from_slice(&told).expect("JSON"),
            );
            for path in case.json {
                take_json(&mut was, path);
                take_json(&mut is, path);
            }
            assert_eq!(was, is, "{}", case.name);
        }
        Encoding::Protobuf => {
            let (was, is) = (
                without(object, case.protobuf),
                without(&told, case.protobuf),
            );
            let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
            assert_eq!(shown(&was), shown(&is), "{}", case.name);
        }
    }
    told
}

fn take_json(value: &mut Value, path: &[&str]) {
    match path {
        [last] => drop(value.as_object_mut().and_then(|map| map.remove(*last))),
        [first, rest @ ..] => {
            if let Some(inner) = value.get_mut(first) {
                take_json(inner, rest);
            }
        }
        [] => {}
    }
}

/// The message without some fields, which may lie in others.
fn without(message: &[u8], paths: &[&[u64]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let begin = rest;
        let tag = varint(&mut rest);
        let mut inner = None;
        match tag & 7 {
            0 => drop(varint(&mut rest)),
            1 => rest = &rest[8..],
            2 => {
                let len = varint(&mut rest) as usize;
                inner = Some(&rest[..len]);
                rest = &rest[len..];
            }
            5 => rest = &rest[4..],
            other => panic!("wire type {other}"),
        }
        let inside: Vec<&[u64]> = (paths.iter())
            .filter(|path| path.first() == Some(&(tag >> 3)))
            .map(|path| &path[1..])
            .collect();
        match inner {
            _ if inside.iter().any(|path| path.is_empty()) => {}
            // Its length is not of interest: that of what was taken out stood in it.
            Some(inner) if !inside.is_empty() => out.extend_from_slice(&without(inner, &inside)),
            _ => out.extend_from_slice(&begin[..begin.len() - rest.len()]),
        }
    }
    out
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().expect("a varint");
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
