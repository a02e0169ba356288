//! Each API server: its name resolves, its port answers, its certificate is good, it speaks HTTP, its clock agrees.

use super::Findings;
use super::files::Loaded;
use crate::cli::dial::{self, Trust};
use crate::cli::http;
use crate::cli::span::span;
use crate::config::{Config, ServerUrl};
use crate::limits::CLOCK_WARN_SECS;
use crate::sys::clock::parse_imf_fixdate;

pub(super) fn check(findings: &mut Findings, config: &Config, with: Loaded, now_secs: u64) {
    // What is wrong with the file was said with the other files.
    let Some(roots) = with.servers else { return };
    let trust = Trust::Signed(&roots, "ca_file; put the cluster's CA there");
    for server in &config.servers {
        match dial::ask(
            server,
            &trust,
            with.own.as_ref(),
            &http::Ask::get("/version"),
        ) {
            Ok(reply) => answered(findings, server, &reply, now_secs),
            Err(trouble) => findings.fail(format!("{server}: {trouble}")),
        }
    }
}

fn answered(findings: &mut Findings, server: &ServerUrl, reply: &http::Reply, now_secs: u64) {
    match reply.status {
        200 => findings.ok(format!("{server}: answers, and its certificate is good")),
        401 => findings.warn(format!(
            "{server}: answers 401, so it does not know the node's certificate or wants one; see client_cert"
        )),
        403 => findings.ok(format!(
            "{server}: answers (403 to /version, which callers without a name may not read there)"
        )),
        status => findings.warn(format!(
            "{server}: answers {status} to /version; is it an API server, and healthy?"
        )),
    }
    let Some(theirs) = reply.date.as_deref().and_then(parse_imf_fixdate) else {
        return;
    };
    if now_secs.abs_diff(theirs) > CLOCK_WARN_SECS {
        let (span, way) = (
            span(now_secs.abs_diff(theirs)),
            if now_secs > theirs {
                "ahead of"
            } else {
                "behind"
            },
        );
        findings.warn(format!(
            "clock is {span} {way} that of {server}: tokens, leases and certificates are judged by it; set it (ntpd, chronyd)"
        ));
    }
}
