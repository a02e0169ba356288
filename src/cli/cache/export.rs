//! `edge-hub cache export`: each object as a file of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::select::{is_secret, rank};
use super::source::{Kept, Piece, Source, SourceError};
use super::text::{Layout, file_name};
use super::{Export, kept_for, name_of, tell, to_stdout};
use crate::admin::index::place;
use crate::cache::key::Scope;
use crate::cache::note::Note;
use crate::error::{Exit, Failure};
use crate::object::{Encoding, write_single};
use crate::request::Form;

/// What was written.
#[derive(Default)]
struct Sums {
    json: u64,
    protobuf: u64,
    secrets: u64,
    broken: u64,
}

/// Writes them, and prints how many. An object that several collections hold is written once, as the most current has it.
pub(super) fn export(
    source: &mut Source,
    asked: &Export,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let at_dir = |error| Failure::failed(format!("{}: {error}", asked.dir.display()));
    let mut kept = kept_for(source, asked.agent.as_deref())?;
    make_empty(&asked.dir).map_err(at_dir)?;
    // The best last, over the others.
    kept.sort_by_key(rank);
    let mut sums = Sums::default();
    for kept in kept.iter().rev() {
        if is_secret(&kept.key.scope) && !asked.secrets {
            sums.secrets += kept.objects;
            continue;
        }
        match write_all(source, kept, &asked.dir, &mut sums) {
            Ok(()) => {}
            Err(SourceError::Taker(error)) => return Err(at_dir(error)),
            Err(SourceError::Failed(error)) => return Err(Failure::failed(error)),
            Err(error) => {
                sums.broken += 1;
                tell(&format!("{}: {error}", name_of(kept)));
            }
        }
    }
    tell_sums(&sums, &asked.dir, out).map_err(to_stdout)?;
    match sums.broken {
        0 => Ok(Exit::Ok),
        _ => Ok(Exit::Findings),
    }
}

fn tell_sums(sums: &Sums, dir: &Path, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} objects written to {}",
        sums.json + sums.protobuf,
        dir.display()
    )?;
    if sums.protobuf > 0 {
        writeln!(
            out,
            "{} of them as protobuf, as they were kept, in files that end in .pb",
            sums.protobuf
        )?;
    }
    if sums.secrets > 0 {
        writeln!(
            out,
            "{} Secrets left out; --secrets writes them",
            sums.secrets
        )?;
    }
    Ok(())
}

/// Files that were there before would pass for what is kept.
fn make_empty(dir: &Path) -> io::Result<()> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir),
        Err(error) => Err(error),
        Ok(mut there) => match there.next() {
            None => Ok(()),
            Some(_) => Err(io::Error::other("the folder is not empty")),
        },
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_all(
    source: &mut Source,
    kept: &Kept,
    dir: &Path,
    sums: &mut Sums,
) -> Result<(), SourceError> {
    let mut note = None;
    source.read(kept.id, None, &mut |piece| match piece {
        Piece::Head { note: of, .. } => {
            note = Some(of.clone());
            Ok(())
        }
        Piece::Item { key, value } => {
            let mut whole = Vec::new();
            match &note {
                Some(Note::Objects(of)) => write_single(kept.key.encoding, of, value, &mut whole),
                Some(Note::Document) => whole.extend_from_slice(value),
                // That something does not exist is no object.
                Some(Note::Absent) | None => return Ok(()),
            }
            let is_json = match note {
                Some(Note::Document) => matches!(whole.first(), Some(b'{' | b'[')),
                _ => kept.key.encoding == Encoding::Json,
            };
            let (folder, mut file) = path(kept, key);
            let folder = dir.join(folder);
            make(&folder)?;
            file += if is_json { ".json" } else { ".pb" };
            let is_new = write_file(&folder.join(file), &whole, is_json)?;
            match is_json {
                true => sums.json += u64::from(is_new),
                false => sums.protobuf += u64::from(is_new),
            }
            Ok(())
        }
    })
}

/// Whether there was none before.
fn write_file(path: &Path, bytes: &[u8], is_json: bool) -> io::Result<bool> {
    // The owner's alone, and anew: a link that somebody has put there is not followed.
    let is_new = fs::remove_file(path).is_err();
    let file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut file = BufWriter::new(file);
    match is_json {
        true => {
            Layout::default().feed(bytes, &mut file)?;
            writeln!(file)?;
        }
        false => file.write_all(bytes)?,
    }
    file.flush()?;
    Ok(is_new)
}

/// Folder and name of an object, without the ending.
fn path(kept: &Kept, item: &str) -> (PathBuf, String) {
    let agent = PathBuf::from(file_name(&kept.key.agent));
    let (mut namespace, mut name) = item.split_once('/').unwrap_or(("", item));
    let mut more = String::new();
    match &kept.key.scope {
        Scope::Objects(_) => {}
        Scope::One(one) => {
            (namespace, name) = (&one.namespace, &one.name);
            if !one.subresource.is_empty() {
                more = format!(".{}", file_name(&one.subresource));
            }
        }
        Scope::Document(d) => return (agent.join("_documents"), file_name(&d.path_and_query)),
    }
    if kept.key.form == Form::Metadata {
        more += ".metadata";
    }
    let folder = agent
        .join(file_name(&place(&kept.key.scope).0))
        .join(file_name(namespace));
    (folder, file_name(name) + &more)
}
