//! `edge-hub cache get`: prints one object, or what the API would answer at a path.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};

use super::select::{Part, Wanted, is_secret, rank};
use super::source::{Kept, Piece, Source};
use super::text::Layout;
use super::{Get, failure, kept_for, tell, to_stdout};
use crate::cache::note::Note;
use crate::error::{Exit, Failure};
use crate::object::{self, Encoding, TypeMeta, write_single};

/// Prints it.
pub(super) fn get(source: &mut Source, asked: &Get, out: &mut dyn Write) -> Result<Exit, Failure> {
    if asked.raw && io::stdout().is_terminal() {
        return Err(failure(
            Exit::Withheld,
            "--raw may hold what a terminal obeys; send it to a file.",
        ));
    }
    let mut kept = kept_for(source, Some(&asked.agent))?;
    if let Some(who) = &asked.who {
        kept.retain(|kept| kept.key.who.to_string() == *who);
    }
    kept.sort_by_key(rank);
    for wanted in wanted(asked)? {
        let found = find(source, &kept, &wanted)?;
        let (who, [first, ..]) = (identities(&found), &found[..]) else {
            continue;
        };
        if who.len() > 1 {
            return Err(failure(
                Exit::Withheld,
                format!(
                    "It is kept for {}; say for which with --who.",
                    Vec::from_iter(who).join(", ")
                ),
            ));
        }
        if is_secret(&first.kept.key.scope) && !asked.secrets {
            return Err(failure(
                Exit::Withheld,
                "It is a Secret, and is shown with --secrets.",
            ));
        }
        return show(source, first, asked.raw, out);
    }
    Err(failure(Exit::NotKept, "It is not kept."))
}

/// What may be meant, in the order of preference.
fn wanted(asked: &Get) -> Result<Vec<Wanted>, Failure> {
    let usage = |text: &str| failure(Exit::Usage, text);
    let object = |namespace: &str, name: &str| Wanted::Object {
        resource: asked.what.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    match (&asked.name, asked.what.starts_with('/')) {
        (None, true) => match Wanted::path(&asked.what) {
            Some(wanted) => Ok(vec![wanted]),
            None => Err(failure(Exit::NotKept, "Nothing of that path is ever kept.")),
        },
        (Some(name), false) => Ok(match name.split_once('/') {
            Some((namespace, name)) => vec![object(namespace, name)],
            None => vec![object("", name), object("default", name)],
        }),
        (None, false) => Err(usage(
            "Which one? RESOURCE is followed by [NAMESPACE/]NAME.",
        )),
        (Some(_), true) => Err(usage("A PATH names its object; nothing follows it.")),
    }
}

/// Where it is.
struct Found<'k> {
    kept: &'k Kept,
    part: Part,
}

/// The collections that hold it, the best first.
fn find<'k>(
    source: &mut Source,
    kept: &'k [Kept],
    wanted: &Wanted,
) -> Result<Vec<Found<'k>>, Failure> {
    let mut found = Vec::new();
    for kept in kept {
        let Some(part) = wanted.part(&kept.key.scope) else {
            continue;
        };
        let mut is_there = part == Part::All;
        if let Part::Item(item) = &part {
            let read = source.read(kept.id, Some(item), &mut |piece| {
                is_there |= matches!(piece, Piece::Item { .. });
                Ok(())
            });
            if let Err(error) = read {
                tell(&format!("{}: {error}", super::name_of(kept)));
            }
        }
        if is_there {
            found.push(Found { kept, part });
        }
    }
    Ok(found)
}

fn identities(found: &[Found<'_>]) -> BTreeSet<String> {
    found
        .iter()
        .map(|found| found.kept.key.who.to_string())
        .collect()
}

fn show(
    source: &mut Source,
    found: &Found<'_>,
    raw: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let encoding = found.kept.key.encoding;
    let mut shown = Shown {
        encoding,
        raw,
        layout: Layout::default(),
        note: None,
        items: 0,
        exit: Exit::Ok,
        out,
    };
    let item = match &found.part {
        Part::All if encoding == Encoding::Protobuf => {
            return Err(failure(
                Exit::Withheld,
                "It is a list in protobuf; `edge-hub cache export` writes its objects, and `get --raw` one of them.",
            ));
        }
        Part::All => None,
        Part::Item(item) => Some(item.as_str()),
    };
    source.read(found.kept.id, item, &mut |piece| {
        shown.piece(piece, item.is_none())
    })?;
    shown.end(item.is_none()).map_err(to_stdout)?;
    Ok(shown.exit)
}

/// What is printed, as it comes.
struct Shown<'o> {
    encoding: Encoding,
    raw: bool,
    layout: Layout,
    note: Option<Note>,
    items: u64,
    exit: Exit,
    out: &'o mut dyn Write,
}

impl Shown<'_> {
    fn piece(&mut self, piece: Piece<'_>, is_list: bool) -> io::Result<()> {
        match piece {
            Piece::Head { version, note } => {
                self.note = Some(note.clone());
                match note {
                    Note::Objects(of) if is_list => {
                        let kind = TypeMeta::new(&of.api_version, &format!("{}List", of.kind));
                        let mut head = Vec::new();
                        object::write_list_head(self.encoding, &kind, version, 0, &mut head);
                        self.print(&head)
                    }
                    _ => Ok(()),
                }
            }
            Piece::Item { value, .. } => {
                let mut whole = Vec::new();
                match &self.note {
                    _ if is_list => {
                        let first = self.items == 0;
                        object::write_list_item(self.encoding, first, value, &mut whole);
                    }
                    Some(Note::Objects(of)) => write_single(self.encoding, of, value, &mut whole),
                    Some(Note::Absent) => {
                        self.exit = Exit::NotKept;
                        tell("It is known not to exist; this is what the API server said:");
                        whole.extend_from_slice(value);
                    }
                    _ => whole.extend_from_slice(value),
                }
                self.items += 1;
                self.print(&whole)
            }
        }
    }

    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_text = matches!(
            bytes.trim_ascii_start().first(),
            Some(b'{' | b'[' | b',' | b']')
        );
        match (self.raw, is_text || self.items > 1) {
            (true, _) => self.out.write_all(bytes),
            (false, true) => self.layout.feed(bytes, self.out),
            (false, false) => {
                self.exit = Exit::Withheld;
                tell("It is kept as protobuf, which has no text; `--raw > FILE` writes it.");
                Ok(())
            }
        }
    }

    fn end(&mut self, is_list: bool) -> io::Result<()> {
        if is_list {
            let mut tail = Vec::new();
            object::write_list_tail(self.encoding, &mut tail);
            self.print(&tail)?;
        }
        match self.raw {
            true => Ok(()),
            false => writeln!(self.out),
        }
    }
}
