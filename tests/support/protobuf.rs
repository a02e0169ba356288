//! As much of Kubernetes' protobuf as a test needs to see what came: fields by number, nothing typed.

/// What every protobuf body of the API server starts with.
pub const MAGIC: &[u8] = b"k8s\0";

/// The payload of the first length-delimited field `number` of a message.
pub fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message, number).next()
}

/// The first varint field `number` of a message.
pub fn number(message: &[u8], number: u64) -> Option<u64> {
    values(message, number).find_map(|value| match value {
        Value::Number(number) => Some(number),
        _ => None,
    })
}

/// The payloads of all length-delimited fields `number` of a message.
pub fn fields(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    values(message, number).filter_map(|value| match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

fn values(message: &[u8], number: u64) -> impl Iterator<Item = Value<'_>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (at, value) = next(&mut rest).expect("well-formed protobuf");
            if at == number {
                return Some(value);
            }
        }
        None
    })
}

/// Takes one field.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, len)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The object inside an envelope (`runtime.Unknown`), and its kind.
pub fn envelope(body: &[u8]) -> (String, &[u8]) {
    let message = body.strip_prefix(MAGIC).expect("the magic bytes");
    let kind = field(message, 1)
        .and_then(|meta| field(meta, 2))
        .unwrap_or_default();
    (
        String::from_utf8_lossy(kind).into_owned(),
        field(message, 2).unwrap_or_default(),
    )
}

/// What a test wants to know of an object: `ObjectMeta` is field 1 of every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub resource_version: String,
    /// Whether it carries the mark that ends the initial events of a WatchList.
    pub initial_events_end: bool,
}

/// The metadata of an object.
pub fn meta(object: &[u8]) -> Meta {
    let meta = field(object, 1).unwrap_or_default();
    let text =
        |number| String::from_utf8_lossy(field(meta, number).unwrap_or_default()).into_owned();
    Meta {
        name: text(1),
        namespace: text(3),
        resource_version: text(6),
        initial_events_end: fields(meta, 12)
            .any(|entry| field(entry, 1) == Some(b"k8s.io/initial-events-end")),
    }
}

/// The version (`ListMeta.resourceVersion`) and the items of a list.
pub fn list(body: &[u8]) -> (String, Vec<Meta>) {
    let (_, list) = envelope(body);
    let version = field(list, 1)
        .and_then(|meta| field(meta, 2))
        .unwrap_or_default();
    (
        String::from_utf8_lossy(version).into_owned(),
        fields(list, 2).map(meta).collect(),
    )
}
