//! What can be wrong with a configuration, said so that the one who wrote it can put it right: the file, line and column
//! or the key, what is allowed, and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use super::places::{Places, Step, line_column, steps};
use crate::limits::CONFIG_PROBLEMS_MAX;

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is longer than any configuration.
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The file is not text in UTF-8.
    Encoding {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The text is not JSON.
    Json {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What is wrong there, and the way out.
        what: String,
    },
    /// It is JSON, and some of it is wrong. At least one, in the order of the file.
    Problems {
        /// Which file.
        path: PathBuf,
        /// All that was found.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, such as `identities[1].cert`; empty when it is about the whole file.
    pub key: String,
    /// Line and column, both from 1; none when the key is not in the file.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub what: String,
    /// What is allowed, or what to do.
    pub way_out: String,
}

impl ConfigError {
    /// One line for each thing that is wrong, without a line end.
    pub fn lines(&self) -> Vec<String> {
        match self {
            ConfigError::Read { path, cause } if cause.kind() == io::ErrorKind::NotFound => {
                vec![format!(
                    "{}: there is no such file; write one (the least is {{\"servers\": [\"https://host:6443\"]}}) or name another with --config",
                    path.display()
                )]
            }
            ConfigError::Read { path, cause } => vec![format!(
                "{}: the file cannot be read ({cause}); name another with --config, or let the user that runs edge-hub read it",
                path.display()
            )],
            ConfigError::TooLarge { path, bytes_max } => {
                vec![format!(
                    "{}: the file is longer than {bytes_max} bytes; is it the right one?",
                    path.display()
                )]
            }
            ConfigError::Encoding { path, what } => {
                vec![format!("{}: {what}; save it as UTF-8", path.display())]
            }
            ConfigError::Json {
                path,
                line,
                column,
                what,
            } => {
                vec![format!("{}:{line}:{column}: {what}", path.display())]
            }
            ConfigError::Problems { path, problems } => problems
                .iter()
                .map(|problem| format!("{}{problem}", path.display()))
                .collect(),
        }
    }

    pub(super) fn json(path: &Path, text: &str, error: &serde_json::Error) -> ConfigError {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        // serde_json repeats the place at the end of its text.
        let said = said.split(" at line ").next().unwrap_or_default();
        let at = text
            .lines()
            .nth(line.saturating_sub(1))
            .and_then(|line| line.as_bytes().get(column.saturating_sub(1)));
        let hint = match at {
            _ if text.trim().is_empty() => {
                "the file is empty; the least is {\"servers\": [\"https://host:6443\"]}"
            }
            Some(b'/' | b'#') => "JSON has no comments; take them out",
            Some(b'\'') => "JSON has only double quotes",
            _ if said.contains("trailing comma") => "take out the comma before it",
            _ => "look just before it for a comma, a quote or a bracket too many or too few",
        };
        ConfigError::Json {
            path: path.to_owned(),
            line,
            column,
            what: format!("this is not JSON: {said}; {hint}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.what, self.way_out)
    }
}

/// Collects what is wrong, up to a bound: past it the first ones are enough to work on.
pub(super) struct Problems {
    found: Vec<(Vec<Step>, Option<usize>, Problem)>,
}

impl Problems {
    pub(super) fn new() -> Problems {
        Problems { found: Vec::new() }
    }

    /// Notes something about the key of that path.
    pub(super) fn add(&mut self, key: &str, what: impl Into<String>, way_out: &str) {
        self.push(
            steps(key),
            None,
            key.to_owned(),
            what.into(),
            way_out.to_owned(),
        );
    }

    pub(super) fn add_at(&mut self, (steps, at): &(Vec<Step>, usize), what: &str, way_out: &str) {
        self.push(
            steps.clone(),
            Some(*at),
            shown(steps),
            what.to_owned(),
            way_out.to_owned(),
        );
    }

    pub(super) fn unknown(&mut self, steps: &[Step], nearest: Option<&str>) {
        let way_out = match nearest {
            Some(name) => format!("did you mean `{name}`?"),
            None => "take it out; the README has the table of keys".to_owned(),
        };
        self.push(
            steps.to_vec(),
            None,
            shown(steps),
            "there is no such key".to_owned(),
            way_out,
        );
    }

    pub(super) fn not_among(
        &mut self,
        key: &str,
        text: &str,
        allowed: &str,
        nearest: Option<&str>,
    ) {
        let meant = nearest
            .map(|word| format!("; did you mean {word:?}?"))
            .unwrap_or_default();
        self.add(
            key,
            format!("{} is not known", quoted(text)),
            &format!("allowed: {allowed}{meant}"),
        );
    }

    /// Whether something is known to be wrong with this key or within it.
    pub(super) fn mention(&self, key: &str) -> bool {
        let first = Step::Key(key.to_owned());
        self.found
            .iter()
            .any(|(steps, ..)| steps.first() == Some(&first))
    }

    /// The configuration if nothing was found; else all that was, with its places in the text.
    pub(super) fn finish(
        mut self,
        text: &str,
        path: &Path,
        config: Option<Config>,
    ) -> Result<Config, ConfigError> {
        if self.found.is_empty() {
            match config {
                Some(config) => return Ok(config),
                None => self.add(
                    "",
                    "it could not be understood",
                    "see the table of keys in the README",
                ),
            }
        }
        let places = Places::scan(text);
        let mut found: Vec<(usize, Problem)> = Vec::new();
        for (steps, at, mut problem) in self.found {
            let at = at.or_else(|| places.find(&steps));
            problem.place = at.map(|at| line_column(text, at));
            found.push((at.unwrap_or(usize::MAX), problem));
        }
        found.sort_by_key(|(at, _)| *at);
        Err(ConfigError::Problems {
            path: path.to_owned(),
            problems: found.into_iter().map(|(_, p)| p).collect(),
        })
    }

    fn push(
        &mut self,
        steps: Vec<Step>,
        at: Option<usize>,
        key: String,
        what: String,
        way_out: String,
    ) {
        if self.found.len() < CONFIG_PROBLEMS_MAX {
            self.found.push((
                steps,
                at,
                Problem {
                    key,
                    place: None,
                    what,
                    way_out,
                },
            ));
        }
    }
}

fn shown(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path += &plain(key),
            Step::Key(key) => path += &format!(".{}", plain(key)),
            Step::Index(index) => path += &format!("[{index}]"),
        }
    }
    path
}

/// A value as messages show it: quoted, short, without control characters.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text))
}

fn plain(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out += "...";
    }
    out.replace("\\\"", "\"").replace("\\'", "'")
}

/// The text in the bytes. A UTF-8 mark at the start, as some editors put there, is skipped.
pub(super) fn text_of<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, ConfigError> {
    let encoding = |what: String| ConfigError::Encoding {
        path: path.to_owned(),
        what,
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(encoding("the file is UTF-16".to_owned()));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        encoding(format!("line {line} holds a byte that is not UTF-8"))
    })
}
