//! `edge-hub cache drop`: forgets what is kept for a program.

use std::io::Write;

use super::select::Wanted;
use super::source::Source;
use super::{Forget, failure, kept_for, name_of, to_stdout};
use crate::error::{Exit, Failure};

/// Does it, and prints what went.
pub(super) fn forget(
    source: &mut Source,
    asked: &Forget,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut kept = kept_for(source, Some(&asked.agent))?;
    if let Some(what) = &asked.what {
        let wanted = match what.starts_with('/') {
            true => Wanted::path(what)
                .ok_or_else(|| failure(Exit::NotKept, "Nothing of that path is ever kept."))?,
            false => Wanted::Resource(what.clone()),
        };
        kept.retain(|kept| wanted.is(&kept.key.scope));
    }
    if kept.is_empty() {
        return Err(failure(
            Exit::NotKept,
            format!("Nothing of that is kept for {}.", asked.agent),
        ));
    }
    let ids: Vec<u64> = kept.iter().map(|kept| kept.id).collect();
    source.forget(&ids)?;
    for kept in &kept {
        writeln!(out, "dropped {} ({} objects)", name_of(kept), kept.objects).map_err(to_stdout)?;
    }
    Ok(Exit::Ok)
}
