//! How the process can end. Only `main` ends it.

use std::fmt;
use std::process::ExitCode;

/// The exit codes. The README lists them; a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// The hub could not start, or could not go on.
    Failed,
    /// The command line was not understood.
    Usage,
    /// The configuration is wrong or missing.
    Config,
    /// `check` found something to put right, or `cache` something that cannot be read.
    Findings,
    /// `status` found no running hub, and `cache` nothing that one has left.
    NotRunning,
    /// What `cache` was asked for is not kept.
    NotKept,
    /// `cache get` has it, and must be told more before it shows it.
    Withheld,
    /// `join` was refused: trying again with the same does not help.
    Refused,
    /// `join` has asked, and nobody has approved yet.
    NotApproved,
}

/// Every exit code, with its meaning for people.
pub const EXITS: &[(Exit, &str)] = &[
    (Exit::Ok, "all went well"),
    (
        Exit::Failed,
        "the hub could not start, or could not go on, or `cache` or `join` could not do what was asked; the last line says why",
    ),
    (Exit::Usage, "the command line was not understood"),
    (
        Exit::Config,
        "the configuration is wrong or missing, or `join` would have to change one that is there; trying again does not help",
    ),
    (
        Exit::Findings,
        "`check` found something to put right, or `cache` something that cannot be read",
    ),
    (
        Exit::NotRunning,
        "`status` found no running hub, and `cache` nothing that one has left",
    ),
    (Exit::NotKept, "what `cache` was asked for is not kept"),
    (
        Exit::Withheld,
        "`cache get` has it, and shows it with `--secrets`, `--who` or `--raw`",
    ),
    (
        Exit::Refused,
        "`join` was refused; trying again with the same token and server does not help",
    ),
    (
        Exit::NotApproved,
        "`join` has asked for the certificate, and nobody has approved it yet; the same command goes on",
    ),
];

impl Exit {
    /// The number that the caller of the process sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Config => 3,
            Exit::Findings => 4,
            Exit::NotRunning => 5,
            Exit::NotKept => 6,
            Exit::Withheld => 7,
            Exit::Refused => 8,
            Exit::NotApproved => 9,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An end that is not a good one: the code, and a line for whoever looks why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Never [`Exit::Ok`].
    pub exit: Exit,
    /// What failed, on what, and the way out.
    pub text: String,
}

impl Failure {
    /// The hub could not start, or could not go on.
    pub fn failed(text: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Failed,
            text: text.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
