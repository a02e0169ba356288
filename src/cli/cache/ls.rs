//! `edge-hub cache ls`: a line for each collection.

use std::io::{self, Write};

use serde::Serialize;

use super::source::{Kept, Source};
use super::text::{put_line, table};
use super::{Ls, kept_for, to_stdout};
use crate::admin::index::{age, place, word};
use crate::error::{Exit, Failure};
use crate::object::Encoding;
use std::time::Duration;

const HEAD: [&str; 11] = [
    "AGENT",
    "COLLECTION",
    "NAMESPACE/SELECTOR",
    "OBJECTS",
    "BYTES",
    "VERSION",
    "STATE",
    "AGE",
    "CLASS",
    "FORMAT",
    "WHO",
];

/// Prints it.
pub(super) fn ls(source: &mut Source, asked: &Ls, out: &mut dyn Write) -> Result<Exit, Failure> {
    let kept = kept_for(source, asked.agent.as_deref())?;
    let printed = match asked.json {
        true => kept.iter().try_for_each(|kept| json(kept, out)),
        false => {
            let head = HEAD.map(str::to_owned);
            let rows: Vec<_> = std::iter::once(head).chain(kept.iter().map(row)).collect();
            table(&rows, out)
        }
    };
    printed.map(|()| Exit::Ok).map_err(to_stdout)
}

fn row(kept: &Kept) -> [String; HEAD.len()] {
    let (collection, within) = place(&kept.key.scope);
    [
        word(&kept.key.agent),
        collection,
        within,
        kept.objects.to_string(),
        kept.bytes.to_string(),
        word(&kept.version),
        word(&kept.state),
        kept.age_secs
            .map_or("?".to_owned(), |secs| age(Duration::from_secs(secs))),
        word(&kept.class),
        format(kept.key.encoding).to_owned(),
        kept.key.who.to_string(),
    ]
}

fn format(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "json",
        Encoding::Protobuf => "protobuf",
    }
}

/// The same as [`HEAD`], for programs.
#[derive(Serialize)]
struct Line<'a> {
    agent: &'a str,
    collection: &'a str,
    within: &'a str,
    objects: u64,
    bytes: u64,
    version: &'a str,
    state: &'a str,
    age_secs: Option<u64>,
    class: &'a str,
    format: &'a str,
    who: &'a str,
}

fn json(kept: &Kept, out: &mut dyn Write) -> io::Result<()> {
    let (collection, within) = place(&kept.key.scope);
    let line = serde_json::to_string(&Line {
        agent: &kept.key.agent,
        collection: &collection,
        within: &within,
        objects: kept.objects,
        bytes: kept.bytes,
        version: &kept.version,
        state: &kept.state,
        age_secs: kept.age_secs,
        class: &kept.class,
        format: format(kept.key.encoding),
        who: &kept.key.who.to_string(),
    })?;
    put_line(&line, out)
}
