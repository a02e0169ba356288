//! `edge-hub status`: asks the running hub and prints what it says, for a person at three in the night or for a program.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::logging::one_line;
use super::span::span;
use super::{complain, http, say};
use crate::admin::status::{Collection, CollectionState, Reach, Server, Status};
use crate::config::admin_listen;
use crate::error::Exit;
use crate::limits::{CERT_WARN_DAYS, CLI_REPLY_SECS_MAX};

/// Asks, and prints. A hub that runs without its link is a running hub.
pub(super) fn status(config: &Path, json: bool) -> Exit {
    // A hub in trouble may have a configuration in trouble; where it is asked is found all the same.
    let at = admin_listen(config);
    match fetch(at) {
        Ok(body) if json => {
            say(body.trim_end());
            Exit::Ok
        }
        Ok(body) => match serde_json::from_str::<Status>(&body) {
            Ok(status) => {
                say(show(&status).trim_end());
                Exit::Ok
            }
            Err(_) => not_running(at, "what answers there is no edge-hub"),
        },
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
    let reply = http::get(
        &mut http::Timed::new(socket, until),
        &at.to_string(),
        "/status",
    )
    .map_err(|e| e.to_string())?;
    if reply.status != 200 {
        return Err(format!("it answered {}", reply.status));
    }
    String::from_utf8(reply.body).map_err(|_| "its answer is not text".to_owned())
}

/// Worst news first, as far as that goes: warnings, link, servers, then what is kept and the rest.
fn show(s: &Status) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Whatever answers on that port does not get to move the cursor.
        let _ = writeln!(out, "{}", one_line(&text));
    };
    line(format!(
        "edge-hub {} on {}, pid {}, up {}",
        s.version,
        s.node_name,
        s.pid,
        span(s.uptime_secs)
    ));
    s.warnings
        .iter()
        .for_each(|warning| line(format!("WARNING   {warning}")));
    let reason = s
        .link
        .reason
        .as_deref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    line(format!(
        "link      {} for {}{reason}",
        word(s.link.state),
        span(s.link.since_secs)
    ));
    s.servers
        .iter()
        .for_each(|server| line(server_line(server)));
    line(format!(
        "store     {}, {} of {}, {} collections, {} objects, {} evicted, {} being filled",
        s.store.kind,
        size(s.store.bytes),
        size(s.store.bytes_max),
        s.store.collections,
        s.store.objects,
        s.store.evicted,
        s.store.filling
    ));
    line(format!(
        "clients   {} of {} connections",
        s.connections.open, s.connections.max
    ));
    line(format!(
        "answers   {} from the cloud, {} from the cache, {} by the hub itself",
        s.requests.cloud, s.requests.cache, s.requests.hub
    ));
    for cert in &s.certificates {
        let left = match cert.days_left {
            days if days < 0 => "OVER".to_owned(),
            days if days.unsigned_abs() < CERT_WARN_DAYS => format!("ONLY {days} days left"),
            days => format!("{days} days left"),
        };
        line(format!(
            "cert      {}: {}, until {}, {left}",
            cert.what, cert.subject, cert.not_after
        ));
    }
    table(&s.collections).into_iter().for_each(line);
    out
}

fn word(state: Reach) -> &'static str {
    match state {
        Reach::Up => "up",
        Reach::Down => "DOWN",
        Reach::Unknown => "not yet known",
    }
}

fn server_line(s: &Server) -> String {
    let error = s
        .last_error
        .as_deref()
        .map(|error| format!("; last error: {error}"))
        .unwrap_or_default();
    format!(
        "server    {} {} for {}, {} connections, {} streams{error}",
        s.url,
        word(s.state),
        span(s.since_secs),
        s.connections,
        s.streams
    )
}

/// The collections in columns as wide as they need to be.
fn table(collections: &[Collection]) -> Vec<String> {
    if collections.is_empty() {
        return vec!["kept      nothing yet".to_owned()];
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
        "AGE",
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

fn row(c: &Collection) -> [String; 11] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = match c.state {
        CollectionState::Complete => "complete",
        CollectionState::Filling => "filling",
        CollectionState::Frozen => "frozen",
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

fn size(bytes: u64) -> String {
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
    use crate::admin::status::{Certificate, Link};

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
        let text = show(&status);
        for part in [
            "on gw-1\\u{1b}[2J, pid 0, up 1m 30s\nWARNING   the state folder",
            "link      DOWN for 12m 30s: connection refused\n",
            "server    https://a:6443 not yet known",
            "ONLY 2 days left",
            "kubelet",
            "1.5 KiB",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(show(&Status::default()).contains("nothing yet"));
    }

    #[test]
    fn what_another_version_sends_is_read_as_far_as_it_goes() {
        for (text, state) in [
            ("{}", Reach::Unknown),
            (r#"{"link":{"state":"down"},"new":1}"#, Reach::Down),
            (r#"{"link":{"state":"odd"}}"#, Reach::Unknown),
        ] {
            let status: Status = serde_json::from_str(text).expect(text);
            assert_eq!(status.link.state, state, "{text}");
        }
    }
}
