//! `edge-hub check`: tries everything that `run` would need before it is needed, and prints one line for each finding:
//! what, why it matters, the way out. Leaves everything as it was.

mod cache;
mod files;
mod network;
mod server;

use std::path::Path;

use super::logging::one_line;
use super::say;
use crate::config::Config;
use crate::error::Exit;
use crate::limits::{CLOCK_BEHIND_SECS, CLOCK_FLOOR_UNIX_SECS_MAX};
use crate::sys::clock::{Sanity, rfc3339, sane, system_unix_secs};

/// Checks everything, prints the findings, and tells whether `run` would come up.
pub(super) fn check(path: &Path) -> Exit {
    let mut findings = Findings::default();
    let now_secs = system_unix_secs();
    clock(&mut findings, now_secs);
    match Config::load(path) {
        Ok(config) => {
            findings.ok(format!("configuration {} is good", path.display()));
            last_time(&mut findings, &config, now_secs);
            let running = network::running(&config);
            let loaded = files::check(&mut findings, &config, now_secs);
            cache::check(&mut findings, &config);
            network::check(&mut findings, &config, running);
            server::check(&mut findings, &config, loaded, now_secs);
        }
        // What the file would lead to cannot be tried before it says what is meant.
        Err(error) => error
            .lines()
            .into_iter()
            .for_each(|line| findings.fail(line)),
    }
    findings.summary()
}

/// What was found so far, printed as it comes: some checks wait for the network.
#[derive(Default)]
struct Findings {
    warned: usize,
    failed: usize,
}

impl Findings {
    /// As it must be.
    fn ok(&mut self, what: impl AsRef<str>) {
        say(&one_line(&format!("ok    {}", what.as_ref())));
    }

    /// The hub would run, and something would not be as meant.
    fn warn(&mut self, what: impl AsRef<str>) {
        self.warned += 1;
        say(&one_line(&format!("warn  {}", what.as_ref())));
    }

    /// The hub, or somebody behind it, would not work.
    fn fail(&mut self, what: impl AsRef<str>) {
        self.failed += 1;
        say(&one_line(&format!("FAIL  {}", what.as_ref())));
    }

    fn summary(self) -> Exit {
        match (self.failed, self.warned) {
            (0, 0) => say("All is well."),
            (0, warned) => say(&format!("It would run; {warned} to look at.")),
            (failed, warned) => say(&format!("{failed} to put right, {warned} to look at.")),
        }
        if self.failed == 0 {
            Exit::Ok
        } else {
            Exit::Findings
        }
    }
}

/// What the hub knew at its last run is past, whatever the clock says.
fn last_time(findings: &mut Findings, config: &Config, now_secs: u64) {
    let known = crate::hub::last_time::look(&config.state_dir);
    if known <= CLOCK_FLOOR_UNIX_SECS_MAX && now_secs + CLOCK_BEHIND_SECS < known {
        findings.fail(format!(
            "clock says {}, and it was {} when the hub last knew: the hub goes by that, others on this machine do not; \
             set it (ntpd, chronyd, date -s)",
            rfc3339(now_secs),
            rfc3339(known)
        ));
    }
}

fn clock(findings: &mut Findings, now_secs: u64) {
    let shown = rfc3339(now_secs);
    if sane(now_secs, 0) == Sanity::Unset {
        findings.fail(format!(
            "clock says {shown}: certificates and tokens look as if they were not valid yet; set it (ntpd, chronyd, date -s)"
        ));
    } else {
        findings.ok(format!("clock says {shown}"));
    }
}
