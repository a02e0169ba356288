//! The log: one event, one line, on stderr, as whoever reads it there expects it. Never more than one line per event,
//! whatever the message holds: what comes from the network must not be able to forge a line.

use std::io::{IsTerminal, Write};
use std::os::linux::fs::MetadataExt;
use std::sync::{OnceLock, RwLock};

use env_logger::{Builder, Logger, Target};
use log::{Level, Log, Metadata, Record};

use crate::limits::LOG_LINE_CHARS_MAX;
use crate::sys::clock::{civil, system_unix_secs};

/// Starts the log, or gives the running one another filter. `RUST_LOG`, where it is set, overrides `filter`.
pub fn set(filter: &str) {
    let logger = build(filter);
    let level = logger.filter();
    match RUNNING.get() {
        Some(running) => {
            // A panic while writing a line leaves nothing broken in there.
            *running
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()) = logger;
        }
        None => {
            // Both fail only where somebody else in this process has set a log before, as tests do.
            let _ = RUNNING.set(RwLock::new(logger));
            let _ = log::set_logger(&Switch);
        }
    }
    log::set_max_level(level);
}

static RUNNING: OnceLock<RwLock<Logger>> = OnceLock::new();

/// Stands before env_logger's own logger, whose filter cannot be changed.
struct Switch;

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        with(|logger| logger.enabled(metadata)).unwrap_or(false)
    }

    fn log(&self, record: &Record<'_>) {
        with(|logger| logger.log(record));
    }

    fn flush(&self) {}
}

fn with<T>(use_it: impl FnOnce(&Logger) -> T) -> Option<T> {
    RUNNING.get().map(|running| {
        use_it(
            &running
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    })
}

fn build(filter: &str) -> Logger {
    let form = Form::of_stderr();
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.trim().is_empty())
        .unwrap_or(filter.to_owned());
    let mut builder = Builder::new();
    builder.parse_filters(&filter).target(Target::Stderr);
    builder.format(move |out, record| {
        let line = form.line(
            record.level(),
            &record.args().to_string(),
            system_unix_secs(),
        );
        writeln!(out, "{line}")
    });
    builder.build()
}

/// Who reads stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The journal: a syslog priority in front, which it takes off; it stamps the line itself.
    Journal,
    /// procd's logd, or a file: the level as a word; logd stamps the line itself.
    Plain,
    /// A person: the time, too.
    Terminal,
}

impl Form {
    fn of_stderr() -> Form {
        if std::io::stderr().is_terminal() {
            return Form::Terminal;
        }
        let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        // Where stderr leads: the link is followed to the open file itself, socket or not.
        let stderr = std::fs::metadata("/proc/self/fd/2")
            .map(|meta| format!("{}:{}", meta.st_dev(), meta.st_ino()));
        // Inherited through a redirection the variable is still set; only the numbers tell (systemd.exec(5)).
        if stderr.is_ok_and(|stderr| stderr == named) {
            Form::Journal
        } else {
            Form::Plain
        }
    }

    fn line(self, level: Level, message: &str, now_unix_secs: u64) -> String {
        let message = one_line(message);
        match self {
            Form::Journal => format!("<{}>{message}", priority(level)),
            Form::Plain => format!("{level} {message}"),
            Form::Terminal => {
                let at = civil(now_unix_secs);
                let (hour, minute, second) = (at.hour, at.minute, at.second);
                format!("{hour:02}:{minute:02}:{second:02} {level} {message}")
            }
        }
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// The message without control characters, cut where no line needs to be longer.
pub fn one_line(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for (count, c) in message.trim_end_matches(['\r', '\n']).chars().enumerate() {
        match c {
            _ if count == LOG_LINE_CHARS_MAX => {
                out += "...";
                break;
            }
            // Besides line ends and escapes: what turns the direction of text or ends a line in some viewers.
            c if c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_each_reader_wants_them() {
        for (form, level, want) in [
            (Form::Journal, Level::Error, "<3>link down"),
            (Form::Journal, Level::Warn, "<4>link down"),
            (Form::Journal, Level::Info, "<6>link down"),
            (Form::Journal, Level::Trace, "<7>link down"),
            (Form::Plain, Level::Warn, "WARN link down"),
            (Form::Terminal, Level::Info, "01:01:01 INFO link down"),
        ] {
            assert_eq!(form.line(level, "link down\n", 3_661), want);
        }
    }

    #[test]
    fn one_event_is_one_line() {
        for (message, want) in [
            ("a\nINFO forged", "a\\nINFO forged"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\x1b[2J\x7f\u{9b}", "\\u{1b}[2J\\u{7f}\\u{9b}"),
            ("\u{202e}x\u{2028}", "\\u{202e}x\\u{2028}"),
            ("grün", "grün"),
        ] {
            assert_eq!(one_line(message), want);
        }
        let at = "x".repeat(LOG_LINE_CHARS_MAX);
        assert_eq!(one_line(&at), at);
        assert_eq!(one_line(&(at.clone() + "x")), at + "...");
    }
}
