//! `edge-hub cache export`: each object as a file of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::select::{is_secret, rank};
use super::source::{Kept, Piece, Source, SourceError};
use super::text::{Layout, file_name};
use super::{Export, kept_for, name_of, tell, to_stdout};
use crate::admin::index::place;
use crate::cache::key::Scope;
use crate::cache::note::Note;
use crate::error::{Exit, Failure};
use crate::object::fields::write_fields;
use crate::object::yaml::{is_visible, write_yaml};
use crate::object::{Encoding, open_single, write_single};
use crate::request::Form;
use crate::sys::file::own_uid;

/// How an object is written down, told by how its file's name ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Json,
    Yaml,
    /// Protobuf, as it was kept.
    Bytes,
    /// Its fields by their numbers.
    Fields,
}

impl As {
    fn ending(self) -> &'static str {
        match self {
            As::Json => ".json",
            As::Yaml => ".yaml",
            As::Bytes => ".pb",
            As::Fields => ".pb.txt",
        }
    }
}

/// What was written.
#[derive(Default)]
struct Sums {
    text: u64,
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
        match write_all(source, kept, asked, &mut sums) {
            Ok(()) => {}
            Err(SourceError::Taker(error)) => return Err(at_dir(error)),
            Err(SourceError::Failed(error)) => return Err(Failure::failed(error)),
            Err(error) => {
                sums.broken += 1;
                tell(&format!("{}: {error}", name_of(kept)));
            }
        }
    }
    tell_sums(&sums, asked, out).map_err(to_stdout)?;
    match sums.broken {
        0 => Ok(Exit::Ok),
        _ => Ok(Exit::Findings),
    }
}

fn tell_sums(sums: &Sums, asked: &Export, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} objects written to {}",
        sums.text + sums.protobuf,
        asked.dir.display()
    )?;
    if sums.protobuf > 0 {
        let (how, ending) = match asked.yaml {
            false => ("protobuf, as they were kept", As::Bytes.ending()),
            true => ("fields by their numbers", As::Fields.ending()),
        };
        writeln!(
            out,
            "{} of them as {how}, in files that end in {ending}",
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

/// Files that were there before would pass for what is kept; and who else may write there could lead what is written
/// elsewhere.
fn make_empty(dir: &Path) -> io::Result<()> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir),
        Err(error) => Err(error),
        Ok(mut there) => {
            let of = fs::metadata(dir)?;
            match there.next() {
                Some(_) => Err(io::Error::other("the folder is not empty")),
                None if of.uid() != own_uid() || of.mode() & 0o022 != 0 => {
                    Err(io::Error::other("others may write to the folder"))
                }
                None => Ok(()),
            }
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_all(
    source: &mut Source,
    kept: &Kept,
    asked: &Export,
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
            let (written, text) = written(is_json, asked.yaml, whole);
            let (folder, file) = path(kept, key);
            let folder = asked.dir.join(folder);
            make(&folder)?;
            let path = folder.join(file + written.ending());
            let is_new = write_file(&path, written, &text)?;
            match is_json {
                true => sums.text += u64::from(is_new),
                false => sums.protobuf += u64::from(is_new),
            }
            Ok(())
        }
    })
}

/// The bytes of an object's file, but for the layout of JSON.
fn written(is_json: bool, yaml: bool, whole: Vec<u8>) -> (As, Vec<u8>) {
    let mut text = String::new();
    match (is_json, yaml) {
        (true, true) => match write_yaml(&whole, &mut text) {
            Ok(()) => (As::Yaml, text.into_bytes()),
            // A document that only begins like JSON.
            Err(_) => (As::Json, whole),
        },
        (true, false) => (As::Json, whole),
        (false, false) => (As::Bytes, whole),
        (false, true) => {
            let bare = open_single(Encoding::Protobuf, &whole);
            if let Ok((of, _)) = &bare {
                let of = format!("# {} {}", of.api_version, of.kind);
                text.extend(of.chars().filter(|c| is_visible(*c)));
                text.push('\n');
            }
            write_fields(bare.map_or(&whole, |(_, bare)| bare), &mut text);
            (As::Fields, text.into_bytes())
        }
    }
}

/// Whether there was none before.
fn write_file(path: &Path, how: As, bytes: &[u8]) -> io::Result<bool> {
    // The owner's alone, and anew: a link that somebody has put there is not followed.
    let is_new = fs::remove_file(path).is_err();
    let file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut file = BufWriter::new(file);
    match how {
        As::Json => {
            Layout::default().feed(bytes, &mut file)?;
            writeln!(file)?;
        }
        As::Yaml | As::Bytes | As::Fields => file.write_all(bytes)?,
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
