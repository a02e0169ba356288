//! `edge-hub status`: asks the running hub and prints what it says, for a person at three in the night or for a program.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::logging::one_line;
use super::span::span;
use super::{complain, http, say};
use crate::admin::status::{
    Certificate, Collection, CollectionState, Flash, Reach, Server, Status,
};
use crate::config::admin_listen;
use crate::error::Exit;
use crate::from_json::object;
use crate::limits::{CERT_WARN_DAYS, CLI_REPLY_SECS_MAX};
use crate::sys::clock::{rfc3339, system_unix_secs};

/// Asks, and prints. A hub that runs without its link is a running hub.
pub(super) fn status(config: &Path, json: bool) -> Exit {
    // A hub in trouble may have a configuration in trouble; where it is asked is found all the same.
    let at = admin_listen(config);
    match fetch(at).map(|body| (object::<Status>(&body), body)) {
        // As it came, for a hub of another version may say more than is known here; but read, for anybody may answer there.
        Ok((Some(_), body)) if json => {
            say(body.trim_end());
            Exit::Ok
        }
        Ok((Some(status), _)) => {
            say(show(&status, system_unix_secs()).trim_end());
            Exit::Ok
        }
        Ok((None, _)) => not_running(at, "what answers there is no edge-hub"),
        Err(why) => not_running(at, &why),
    }
}

fn not_running(at: SocketAddr, why: &str) -> Exit {
    complain(&one_line(&format!("No edge-hub answers at {at}: {why}.")));
    complain(
        "Is it running (systemctl status edge-hub, /etc/init.d/edge-hub status), with the same --config?",
    );
    Exit::NotRunning
}

/// The JSON under `/status`, whole.
pub(super) fn fetch(at: SocketAddr) -> Result<String, String> {
    let limit = Duration::from_secs(CLI_REPLY_SECS_MAX);
    let until = Instant::now() + limit;
    let socket = TcpStream::connect_timeout(&at, limit).map_err(|e| e.to_string())?;
    let reply = http::ask(
        &mut http::Timed::new(socket, until),
        &at.to_string(),
        &http::Ask::get("/status"),
    )
    .map_err(|e| e.to_string())?;
    if reply.status != 200 {
        return Err(format!("it answered {}", reply.status));
    }
    String::from_utf8(reply.body).map_err(|_| "its answer is not text".to_owned())
}

/// Link first, then what is wrong, then what is kept and the rest. `now` is in seconds since 1970, UTC.
fn show(s: &Status, now: u64) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Whatever answers on that port does not get to move the cursor.
        let _ = writeln!(out, "{}", one_line(&text));
    };
    line(format!(
        "link      {}{}",
        since(s.link.state, s.link.since_secs, now),
        behind_colon(s.link.reason.as_deref())
    ));
    if s.link.state == Reach::Down {
        line("          what is kept is answered, all else gets 503".to_owned());
    }
    s.servers
        .iter()
        .for_each(|server| line(server_line(server, now)));
    s.warnings
        .iter()
        .for_each(|warning| line(format!("WARNING   {warning}")));
    s.certificates
        .iter()
        .filter_map(ends_soon)
        .for_each(|warning| line(format!("WARNING   {warning}")));
    line(format!(
        "kept      {} collections, {} objects, {} of {} ({}), {} evicted, {} being filled",
        s.store.collections,
        s.store.objects,
        size(s.store.bytes),
        size(s.store.bytes_max),
        s.store.kind,
        s.store.evicted,
        s.store.filling
    ));
    if let Some(flash) = &s.store.flash {
        line(format!("flash     {}", flash_line(flash)));
    }
    line(format!(
        "answers   {} from the cloud, {} from the cache, {} by the hub itself",
        s.requests.cloud, s.requests.cache, s.requests.hub
    ));
    line(format!(
        "clients   {} of {} connections",
        s.connections.open, s.connections.max
    ));
    line(format!(
        "tokens    {} remembered; {}",
        s.tokens.remembered,
        match &s.tokens.issuer {
            Some(issuer) => format!("new ones of pods here count by the keys of {issuer}"),
            None => "new ones count for nothing without a server, for no issuer's keys are known"
                .to_owned(),
        }
    ));
    for cert in &s.certificates {
        let until = match cert.days_left {
            days if days > FOR_EVER_DAYS => "without end".to_owned(),
            _ => format!("until {}", cert.not_after),
        };
        let renewed = match &cert.renewed_from {
            Some(from) => format!(", renewed by the hub from {from} on"),
            None => String::new(),
        };
        line(format!(
            "cert      {}: {}, {until}{renewed}",
            cert.what, cert.subject
        ));
    }
    line(format!(
        "hub       edge-hub {} on {}, pid {}, up {}",
        s.version,
        s.node_name,
        s.pid,
        span(s.uptime_secs)
    ));
    table(&s.collections).into_iter().for_each(line);
    out
}

/// A certificate with more days left has no end that anybody will see (RFC 5280 section 4.1.2.5: the year 9999).
const FOR_EVER_DAYS: i64 = 365 * 1_000;

/// Of one that the hub renews itself, the hub's own warnings tell.
fn ends_soon(cert: &Certificate) -> Option<String> {
    let what = match cert.days_left {
        _ if cert.renewed_from.is_some() => return None,
        days if days < 0 => "is OVER: nobody accepts it any more".to_owned(),
        days if days.unsigned_abs() < CERT_WARN_DAYS => format!("has ONLY {days} days left"),
        _ => return None,
    };
    Some(format!(
        "certificate {} ({}) {what}; it ends at {}; put a new one in its place",
        cert.what, cert.subject, cert.not_after
    ))
}

/// `DOWN for 12m 30s, since 2026-11-21T02:51:00Z`.
fn since(state: Reach, secs: u64, now: u64) -> String {
    match state {
        Reach::Unknown => "not yet known".to_owned(),
        Reach::Up => format!("up for {}, {}", span(secs), at(secs, now)),
        Reach::Down => format!("DOWN for {}, {}", span(secs), at(secs, now)),
    }
}

fn at(secs: u64, now: u64) -> String {
    format!("since {}", rfc3339(now.saturating_sub(secs)))
}

fn behind_colon(text: Option<&str>) -> String {
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

fn server_line(s: &Server, now: u64) -> String {
    // An error of a server that is up again is history, and says so.
    let error = match (&s.last_error, s.state) {
        (None, _) => String::new(),
        (Some(error), Reach::Up) => format!("; last error, over now: {error}"),
        (Some(error), _) => format!("; last error: {error}"),
    };
    format!(
        "server    {} {}, {} connections, {} requests under way{error}",
        s.url,
        since(s.state, s.since_secs, now),
        s.connections,
        s.streams
    )
}

/// The collections in columns as wide as they need to be.
fn table(collections: &[Collection]) -> Vec<String> {
    if collections.is_empty() {
        return Vec::new();
    }
    let head = [
        "AGENT",
        "WHO",
        "WHAT",
        "NAMESPACE",
        "SELECTOR",
        "AS",
        "OBJECTS",
        "SIZE",
        "VERSION",
        "STATE",
        "UNCHANGED FOR",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(collections.iter().map(row));
    let widths: Vec<usize> = (0..head.len())
        .map(|i| {
            rows.iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let padded = |row: &[String; 11]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    std::iter::once(String::new())
        .chain(rows.iter().map(padded))
        .collect()
}

fn flash_line(flash: &Flash) -> String {
    let rest = match &flash.off {
        Some(why) => format!("NOTHING IS WRITTEN any more: {why}"),
        None => format!("{} starts", flash.starts),
    };
    format!(
        "{} on it, {} written in its life, {} of {} left to write today, {rest}",
        size(flash.file_bytes),
        size(flash.life_bytes),
        size(flash.left_bytes),
        size(flash.daily_bytes),
    )
}

fn row(c: &Collection) -> [String; 11] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = match c.state {
        CollectionState::Complete => "followed",
        CollectionState::Filling => "filling",
        CollectionState::Behind => "behind",
        CollectionState::Frozen => "as it was",
    };
    [
        c.agent.clone(),
        c.who.clone(),
        c.resource.clone(),
        or_dash(&c.namespace),
        or_dash(&c.selector),
        c.encoding.clone(),
        c.objects.to_string(),
        size(c.bytes),
        c.version.clone(),
        state.to_owned(),
        span(c.age_secs),
    ]
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes >> 10, (bytes % 1_024) * 10 / 1_024),
        _ => format!(
            "{}.{} MiB",
            bytes >> 20,
            (bytes % 1_048_576) * 10 / 1_048_576
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::Link;

    #[test]
    fn a_person_reads_the_trouble_first() {
        let status = Status {
            version: "0.1.0".into(),
            node_name: "gw-1\x1b[2J".into(),
            uptime_secs: 90,
            link: Link {
                state: Reach::Down,
                since_secs: 750,
                reason: Some("connection refused".into()),
            },
            servers: vec![Server {
                url: "https://a:6443".into(),
                ..Server::default()
            }],
            collections: vec![Collection {
                agent: "kubelet".into(),
                resource: "pods".into(),
                bytes: 1_536,
                ..Collection::default()
            }],
            certificates: vec![Certificate {
                what: "client".into(),
                days_left: 2,
                ..Certificate::default()
            }],
            warnings: vec!["the state folder cannot be written".into()],
            ..Status::default()
        };
        let text = show(&status, 1_700_000_750);
        for part in [
            "link      DOWN for 12m 30s, since 2023-11-14T22:13:20Z: connection refused\n",
            "\nWARNING   the state folder",
            "on gw-1\\u{1b}[2J, pid 0, up 1m 30s\n",
            "server    https://a:6443 not yet known",
            "ONLY 2 days left",
            "kubelet",
            "1.5 KiB",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.starts_with("link"), "{text}");
        let nothing = show(&Status::default(), 0);
        assert!(nothing.contains("not yet known") && nothing.contains("kept      0 collections"));
    }

    #[test]
    fn what_another_version_sends_is_read_as_far_as_it_goes() {
        for (text, state) in [
            ("{}", Reach::Unknown),
            (r#"{"link":{"state":"down"},"new":1}"#, Reach::Down),
            (r#"{"link":{"state":"odd"}}"#, Reach::Unknown),
        ] {
            let status: Status = object(text).expect(text);
            assert_eq!(status.link.state, state, "{text}");
        }
    }
}
