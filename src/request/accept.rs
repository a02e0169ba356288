//! The `Accept` header: which encodings and forms a client takes, best first (kubernetes-api.md 1.1, 1.2).

use crate::limits;
use crate::object::{Encoding, TypeMeta};

/// How the objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The objects themselves.
    Object,
    /// `as=PartialObjectMetadata[List]`, version v1: metadata alone.
    Metadata,
}

/// One clause that the hub can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    pub form: Form,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The clauses of `Accept` that the hub could answer from what it keeps, best first. Tables, YAML, CBOR and versions
/// of metadata other than v1 are left out: they are never kept. No header means JSON.
pub fn wanted(accept: Option<&str>) -> heapless::Vec<Wanted, { limits::ACCEPT_CLAUSES_MAX }> {
    let mut clauses: heapless::Vec<(u16, Wanted), { limits::ACCEPT_CLAUSES_MAX }> =
        heapless::Vec::new();
    let add = |q, encoding, form, list: &mut heapless::Vec<_, { limits::ACCEPT_CLAUSES_MAX }>| {
        let _ = list.push((q, Wanted { encoding, form }));
    };
    for clause in accept.unwrap_or("application/json").split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut q, mut form, mut version) = (1000u16, Some(Form::Object), "v1");
        for part in parts {
            match part.split_once('=').unwrap_or((part, "")) {
                ("q", value) => q = thousandths(value),
                ("as", "PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    form = Some(Form::Metadata)
                }
                ("as", _) => form = None,
                ("v", value) => version = value,
                _ => {}
            }
        }
        let Some(form) = form.filter(|f| *f == Form::Object || version == "v1") else {
            continue;
        };
        if q == 0 {
            continue;
        }
        match media {
            "application/json" => add(q, Encoding::Json, form, &mut clauses),
            PROTOBUF => add(q, Encoding::Protobuf, form, &mut clauses),
            "*/*" | "application/*" => {
                add(q, Encoding::Json, form, &mut clauses);
                add(q, Encoding::Protobuf, form, &mut clauses);
            }
            _ => {}
        }
    }
    // Stable: clauses of one weight stay in the client's order.
    clauses.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    clauses.into_iter().map(|(_, w)| w).collect()
}

/// The same header without CBOR, which nobody here reads, where something is left that the hub does read. `None`: it stays
/// as it is.
pub fn without_cbor(accept: &str) -> Option<String> {
    let is_cbor = |clause: &&str| {
        let media = essence(clause);
        matches!(media, "application/cbor" | "application/cbor-seq")
    };
    if !accept.split(',').any(|clause| is_cbor(&clause)) {
        return None;
    }
    let rest: Vec<&str> = accept.split(',').filter(|c| !is_cbor(c)).collect();
    let rest = rest.join(",");
    (!rest.is_empty() && !wanted(Some(&rest)).is_empty()).then_some(rest)
}

/// A weight of RFC 9110 12.4.2 (`1`, `0.5`, `0.125`) in thousandths; what is none weighs nothing.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    match whole {
        "1" => 1000,
        "0" => digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        _ => 0,
    }
}

/// Which clause of `Accept` takes a document of this `Content-Type`, counted from 0; `None`: none does. Weights are
/// not looked at: clients name discovery documents best first.
pub fn takes_document(accept: &str, content_type: &str) -> Option<usize> {
    let (media, shape) = media_and_shape(content_type);
    accept
        .split(',')
        .take(limits::ACCEPT_CLAUSES_MAX)
        .position(|clause| {
            let (wanted, wanted_shape) = media_and_shape(clause);
            match wanted {
                "*/*" | "application/*" => shape.is_empty(),
                _ => wanted == media && wanted_shape == shape,
            }
        })
}

/// A media type, and its parameters that choose a shape, sorted.
fn media_and_shape(text: &str) -> (&str, heapless::Vec<&str, 4>) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let chooses = |p: &&str| {
        ["as=", "g=", "v=", "profile="]
            .iter()
            .any(|name| p.starts_with(name))
    };
    let mut shape: heapless::Vec<&str, 4> = parts.filter(chooses).take(4).collect();
    shape.sort_unstable();
    (media, shape)
}

/// A media type without its parameters.
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// The encoding that a `Content-Type` of a response names; `None` for what the hub cannot read.
pub fn encoding_of(content_type: &str) -> Option<Encoding> {
    match essence(content_type) {
        "application/json" => Some(Encoding::Json),
        PROTOBUF => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// The `Accept` that asks for objects of this type alone, in this encoding.
pub fn only(encoding: Encoding, type_meta: &TypeMeta) -> &'static str {
    match (encoding, type_meta.kind == "PartialObjectMetadata") {
        (_, false) => content_type(encoding),
        (Encoding::Json, true) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        (Encoding::Protobuf, true) => {
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        }
    }
}

/// The `Accept` that asks for a list of objects of this type alone, in this encoding.
pub fn only_list(encoding: Encoding, item: &TypeMeta) -> &'static str {
    match (encoding, item.kind == "PartialObjectMetadata") {
        (_, false) => content_type(encoding),
        (Encoding::Json, true) => {
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        }
        (Encoding::Protobuf, true) => {
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        }
    }
}

/// The `Content-Type` of an object or a list.
pub fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => PROTOBUF,
    }
}

/// The `Content-Type` of a watch: protobuf says so, JSON does not.
pub fn watch_content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cbor() {
        for (accept, want) in [
            ("application/json", None),
            (
                "application/json;q=0.9,application/cbor;q=1",
                Some("application/json;q=0.9"),
            ),
            (
                "application/cbor, application/vnd.kubernetes.protobuf, */*",
                Some(" application/vnd.kubernetes.protobuf, */*"),
            ),
            ("application/cbor", None),
            ("application/cbor,application/yaml", None),
            ("application/cbor-seq,*/*;q=0.1", Some("*/*;q=0.1")),
        ] {
            assert_eq!(without_cbor(accept).as_deref(), want, "{accept}");
        }
    }

    fn check(accept: Option<&str>, want: &str) {
        let got: Vec<String> = wanted(accept)
            .iter()
            .map(|w| format!("{:?}/{:?}", w.encoding, w.form))
            .collect();
        assert_eq!(got.join(" "), want, "{accept:?}");
    }

    #[test]
    fn documents() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let both = format!("{aggregated},application/json");
        for (accept, content_type, want) in [
            (both.as_str(), aggregated, Some(0)),
            (both.as_str(), "application/json", Some(1)),
            ("application/json", aggregated, None),
            ("application/json, */*", "application/json", Some(0)),
            ("*/*", aggregated, None),
            ("*/*", "application/json", Some(0)),
            (
                "application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io",
                aggregated,
                Some(0),
            ),
        ] {
            assert_eq!(
                takes_document(accept, content_type),
                want,
                "{accept} {content_type}"
            );
        }
    }

    #[test]
    fn clauses() {
        check(None, "Json/Object");
        check(
            Some("application/json, */*"),
            "Json/Object Json/Object Protobuf/Object",
        );
        check(
            Some("application/vnd.kubernetes.protobuf,application/json"),
            "Protobuf/Object Json/Object",
        );
        check(
            Some(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            ),
            "Json/Object",
        );
        check(
            Some(
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            ),
            "Protobuf/Metadata Json/Metadata Json/Object",
        );
        check(
            Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1"),
            "",
        );
        check(
            Some("application/json;q=0.9,application/cbor;q=1"),
            "Json/Object",
        );
        check(
            Some("application/json;q=0.1,application/vnd.kubernetes.protobuf;stream=watch;q=0.5"),
            "Protobuf/Object Json/Object",
        );
        check(Some("application/yaml"), "");
        check(Some("application/json;q=0"), "");
        check(
            Some("application/json;q=x,application/json;q=0.0001,application/json;q=-1"),
            "",
        );
        check(
            Some("application/json;q=0.12,application/vnd.kubernetes.protobuf;q=0.125"),
            "Protobuf/Object Json/Object",
        );
        check(
            Some(&"application/json,".repeat(500)),
            &["Json/Object"; limits::ACCEPT_CLAUSES_MAX].join(" "),
        );
    }
}
