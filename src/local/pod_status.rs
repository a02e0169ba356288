//! How a pod is: what a kubelet says of it when it patches its status, as much as others on the node must know while no API
//! server can be told; and whether it was ready before. Pure.
//!
//! Such a patch holds what is different from the pod that the kubelet was told. So an address that it does not mention is
//! the one that is kept, and so is a pod's readiness.

use crate::object::edit::{Field, Node};
use crate::object::json::Cursor;
use crate::object::{Encoding, Malformed};
use std::net::IpAddr;

/// What one patch says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The pod's; without it nobody knows which of that name is meant.
    pub uid: String,
    /// Its addresses. `None`: those that it had.
    pub ips: Option<Vec<IpAddr>>,
    /// Whether it is ready. `None`: as it is kept.
    pub ready: Option<bool>,
}

/// At most this many addresses of a pod: one of each family.
const IPS_MAX: usize = 2;

impl Report {
    /// Of the body of a strategic merge patch, as kubelets send them. `None`: it says nothing that is understood.
    pub fn read(body: &[u8]) -> Option<Report> {
        let mut cursor = Cursor::new(body);
        let report = patch(&mut cursor).ok()?;
        cursor.end().ok()?;
        (!report.uid.is_empty()).then_some(report)
    }
}

const METADATA: Field = Field::new("metadata", 1);
const UID: Field = Field::new("uid", 5);
const STATUS: Field = Field::new("status", 3);
const CONDITIONS: Field = Field::new("conditions", 2);
const CONDITION_TYPE: Field = Field::new("type", 1);
const CONDITION_STATUS: Field = Field::new("status", 2);

/// The uid of a pod that is ready; `None` of any other, and of what is no pod.
pub fn uid_of_ready(encoding: Encoding, bare: &[u8]) -> Option<String> {
    let pod = Node::object(encoding, bare);
    if !is_ready(&pod).ok()? {
        return None;
    }
    let metadata = pod.get(METADATA).ok()??;
    Some(metadata.text_of(UID).ok()?.into_owned())
}

fn is_ready(pod: &Node<'_>) -> Result<bool, Malformed> {
    let Some(status) = pod.get(STATUS)? else {
        return Ok(false);
    };
    for condition in status.items(CONDITIONS)? {
        if condition.has(CONDITION_TYPE, "Ready")? {
            return condition.has(CONDITION_STATUS, "True");
        }
    }
    Ok(false)
}

fn patch(cursor: &mut Cursor<'_>) -> Result<Report, Malformed> {
    let mut report = Report::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.decode()?.as_ref() {
            "metadata" => metadata(cursor, &mut report)?,
            "status" => status(cursor, &mut report)?,
            _ => drop(cursor.skip()?),
        }
    }
    Ok(report)
}

fn metadata(cursor: &mut Cursor<'_>, report: &mut Report) -> Result<(), Malformed> {
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.is("uid") {
            true => report.uid = text(cursor)?,
            false => drop(cursor.skip()?),
        }
    }
    Ok(())
}

fn status(cursor: &mut Cursor<'_>, report: &mut Report) -> Result<(), Malformed> {
    let (mut first, mut all) = (None, None);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.decode()?.as_ref() {
            "podIP" => first = Some(text(cursor)?),
            "podIPs" => all = Some(addresses(cursor)?),
            "conditions" => conditions(cursor, report)?,
            _ => drop(cursor.skip()?),
        }
    }
    // Of two families the first alone may stay, and then the list names the other.
    let said = first.is_some() || all.is_some();
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in first.into_iter().chain(all.into_iter().flatten()) {
        match ip.parse() {
            Ok(ip) if is_of_a_pod(ip) && !ips.contains(&ip) && ips.len() < IPS_MAX => ips.push(ip),
            _ => {}
        }
    }
    report.ips = said.then_some(ips);
    Ok(())
}

/// Others no pod can have, as the API server says of endpoints: it would lead to something else on the node.
fn is_of_a_pod(ip: IpAddr) -> bool {
    let is_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    !(is_local || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

/// Those of `podIPs` that are there, and not those that the patch takes away.
fn addresses(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Malformed> {
    let mut all = Vec::new();
    if cursor.peek()? == b'n' {
        cursor.skip()?;
        return Ok(all);
    }
    cursor.open_array()?;
    while cursor.next_item()? {
        let (mut ip, mut goes) = (String::new(), false);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            match key.decode()?.as_ref() {
                "ip" => ip = text(cursor)?,
                "$patch" => goes = text(cursor)? == "delete",
                _ => drop(cursor.skip()?),
            }
        }
        if !goes && all.len() < IPS_MAX {
            all.push(ip);
        }
    }
    Ok(all)
}

fn conditions(cursor: &mut Cursor<'_>, report: &mut Report) -> Result<(), Malformed> {
    if cursor.peek()? == b'n' {
        return cursor.skip().map(drop);
    }
    cursor.open_array()?;
    while cursor.next_item()? {
        let (mut kind, mut status) = (String::new(), None);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            match key.decode()?.as_ref() {
                "type" => kind = text(cursor)?,
                "status" => status = Some(text(cursor)? == "True"),
                _ => drop(cursor.skip()?),
            }
        }
        if kind == "Ready" {
            report.ready = status.or(report.ready);
        }
    }
    Ok(())
}

/// A text, or nothing for `null`.
fn text(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let text = cursor.text()?.map(|text| text.decode()).transpose()?;
    Ok(text.unwrap_or_default().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn what_a_patch_says() {
        let read = |status: &str| {
            let body = format!(r#"{{"metadata":{{"uid":"u"}},"status":{status}}}"#);
            let report = Report::read(body.as_bytes())?;
            Some((report.ips, report.ready))
        };
        for (status, want_ips, want_ready) in [
            ("{}", None, None),
            (
                r#"{"podIP":"10.0.0.7","podIPs":[{"ip":"10.0.0.7"},{"$patch":"delete","ip":"10.0.0.3"}],
                    "$setElementOrder/podIPs":[{"ip":"10.0.0.7"}],
                    "conditions":[{"type":"ContainersReady","status":"True"},{"status":"True","type":"Ready"}]}"#,
                Some(ips(&["10.0.0.7"])),
                Some(true),
            ),
            (
                r#"{"podIPs":[{"ip":"fd00::7"},{"ip":"10.0.0.7"}],"conditions":[{"type":"Ready","status":"False"}]}"#,
                Some(ips(&["fd00::7", "10.0.0.7"])),
                Some(false),
            ),
            (
                r#"{"podIP":null,"podIPs":null,"conditions":null}"#,
                Some(vec![]),
                None,
            ),
            (
                r#"{"podIP":"10.0.0.7","podIPs":[{"ip":"fd00::7"}]}"#,
                Some(ips(&["10.0.0.7", "fd00::7"])),
                None,
            ),
            (r#"{"podIP":"nowhere"}"#, Some(vec![]), None),
            (
                r#"{"podIP":"127.0.0.1","podIPs":[{"ip":"169.254.169.254"}]}"#,
                Some(vec![]),
                None,
            ),
            (
                r#"{"podIP":"::ffff:10.0.0.1","podIPs":[{"ip":"fe80::1"}]}"#,
                Some(vec![]),
                None,
            ),
            (r#"{"conditions":[{"type":"Ready"}]}"#, None, None),
        ] {
            assert_eq!(read(status), Some((want_ips, want_ready)), "{status}");
        }
        for odd in ["7", "[]", r#"{"podIP":7}"#, r#"{"podIPs":{}}"#] {
            assert_eq!(read(odd), None, "{odd}");
        }
        for body in [
            "",
            "{}",
            r#"{"status":{}}"#,
            r#"{"metadata":{"uid":"u"}} x"#,
        ] {
            assert_eq!(Report::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn who_is_ready() {
        let is = |kind: &str, status: &str| {
            format!(
                r#"{{"type":"PodScheduled","status":"True"}},{{"type":"{kind}","status":"{status}"}}"#
            )
        };
        let status = |conditions: String| format!(r#"{{"conditions":[{conditions}]}}"#);
        for (status, want) in [
            (status(is("Ready", "True")), Some("u")),
            (status(is("Ready", "False")), None),
            (status(is("ContainersReady", "True")), None),
            ("{}".to_owned(), None),
            ("7".to_owned(), None),
        ] {
            let pod = format!(r#"{{"metadata":{{"name":"p","uid":"u"}},"status":{status}}}"#);
            let got = uid_of_ready(Encoding::Json, pod.as_bytes());
            assert_eq!(got.as_deref(), want, "{status}");
        }
        // Protobuf: metadata.uid, status.conditions of type and status.
        let pod = b"\x0a\x03\x2a\x01u\x1a\x0f\x12\x0d\x0a\x05Ready\x12\x04True";
        assert_eq!(uid_of_ready(Encoding::Protobuf, pod).as_deref(), Some("u"));
        assert_eq!(uid_of_ready(Encoding::Protobuf, &pod[..18]), None);
    }
}
