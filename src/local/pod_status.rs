//! What a kubelet says of a pod when it patches its status: as much of it as others on the node must know while no API server
//! can be told. Pure.
//!
//! Such a patch holds what is different from the pod that the kubelet was told. So an address that it does not mention is
//! the one that is kept, and so is a pod's readiness.

use crate::object::Malformed;
use crate::object::json::Cursor;
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
            Ok(ip) if !ips.contains(&ip) && ips.len() < IPS_MAX => ips.push(ip),
            _ => {}
        }
    }
    report.ips = said.then_some(ips);
    Ok(())
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
}
