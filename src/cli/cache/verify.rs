//! `edge-hub cache verify`: reads all that is kept, and says what cannot be read.

use std::io::Write;

use super::source::{Kept, Source, SourceError};
use super::text::table;
use super::{name_of, to_stdout};
use crate::admin::index::place;
use crate::cache::key::Key;
use crate::error::{Exit, Failure};

/// How one collection was found.
enum Found {
    Whole,
    Broken,
    /// It went while this was reading.
    Gone,
}

/// Prints the segments and what is broken, then the sums.
pub(super) fn verify(source: &mut Source, out: &mut dyn Write) -> Result<Exit, Failure> {
    segments(source, out)?;
    let lost_before = lost(source)?;
    let (mut whole, mut objects, mut gone) = (0u64, 0u64, 0u64);
    let mut broken = source.broken().len() as u64;
    for name in source.broken() {
        let name = match Key::from_bytes(name) {
            Some(key) => {
                let (collection, within) = place(&key.scope);
                format!(
                    "{} {collection} {within} {}",
                    super::word(&key.agent),
                    key.who
                )
            }
            None => "a collection whose name is lost".to_owned(),
        };
        writeln!(out, "BROKEN  {name}: not all of it is there").map_err(to_stdout)?;
    }
    for kept in source.kept()? {
        match read(source, &kept, &mut objects, lost_before)? {
            Found::Whole => whole += 1,
            Found::Gone => gone += 1,
            Found::Broken => {
                broken += 1;
                writeln!(out, "BROKEN  {}: not all of it can be read", name_of(&kept))
                    .map_err(to_stdout)?;
            }
        }
    }
    let went = match gone {
        0 => String::new(),
        gone => format!(", {gone} gone meanwhile"),
    };
    writeln!(
        out,
        "{whole} collections with {objects} objects are whole, {broken} broken{went}."
    )
    .map_err(to_stdout)?;
    match broken {
        0 => Ok(Exit::Ok),
        _ => Ok(Exit::Findings),
    }
}

fn read(
    source: &mut Source,
    kept: &Kept,
    objects: &mut u64,
    lost_before: u64,
) -> Result<Found, Failure> {
    // A version may be replaced, and its place on flash used again, while it is read: the new one is there then.
    for _ in 0..2 {
        let mut items = 0;
        let read = source.read(kept.id, None, &mut |piece| {
            items += u64::from(matches!(piece, super::source::Piece::Item { .. }));
            Ok(())
        });
        match read {
            Ok(()) => {
                *objects += items;
                return Ok(Found::Whole);
            }
            Err(SourceError::Broken | SourceError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A hub forgets what it finds broken, and counts that; what made room for others it does not.
    let is_found_broken = lost(source)? > lost_before || matches!(source, Source::Ring(_));
    match is_found_broken {
        true => Ok(Found::Broken),
        false => Ok(Found::Gone),
    }
}

fn lost(source: &mut Source) -> Result<u64, Failure> {
    Ok(source.store()?.flash.map_or(0, |flash| flash.rotten))
}

fn segments(source: &mut Source, out: &mut dyn Write) -> Result<(), Failure> {
    let head = [
        "SEGMENT",
        "SEQUENCE",
        "BLOCKS",
        "FRAMES",
        "LIVE",
        "UNREADABLE",
    ];
    let segments = source.segments()?;
    let bad: u32 = segments.iter().map(|s| s.bad).sum();
    let rows = segments.into_iter().map(|s| {
        [
            s.number.to_string(),
            s.sequence.to_string(),
            format!("{}/{}", s.blocks, s.blocks_max),
            s.frames.to_string(),
            s.live.to_string(),
            s.bad.to_string(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    if rows.len() > 1 {
        table(&rows, out).map_err(to_stdout)?;
    }
    if bad > 0 {
        writeln!(
            out,
            "{bad} places cannot be read. A power cut leaves such; what was only there is kept again when it is told again."
        )
        .map_err(to_stdout)?;
    }
    Ok(())
}
