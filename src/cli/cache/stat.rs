//! `edge-hub cache stat`: how full the store is, and how much it has written.

use std::io::{self, Write};

use super::super::status::size;
use super::source::{Kept, Source};
use super::to_stdout;
use crate::admin::status::{Flash, Store};
use crate::error::{Exit, Failure};

/// Prints it.
pub(super) fn stat(source: &mut Source, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (store, kept) = (source.store()?, source.kept()?);
    print(&store, &kept, out).map_err(to_stdout)?;
    Ok(Exit::Ok)
}

fn print(store: &Store, kept: &[Kept], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "kept         {} of {} ({}): {} collections, {} objects; {} evicted",
        size(store.bytes),
        size(store.bytes_max),
        super::word(&store.kind),
        store.collections,
        store.objects,
        store.evicted
    )?;
    for class in ["pinned", "named", "wild", "unwanted"] {
        let of = || kept.iter().filter(|kept| kept.class == class);
        if of().next().is_some() {
            let (objects, bytes) = of().fold((0, 0), |(objects, bytes), kept| {
                (objects + kept.objects, bytes + kept.bytes)
            });
            let count = of().count();
            let bytes = size(bytes);
            writeln!(
                out,
                "{class:<12} {bytes} in {objects} objects of {count} collections"
            )?;
        }
    }
    match &store.flash {
        Some(flash) => print_flash(flash, out),
        None => writeln!(out, "flash        none: a restart of the hub forgets all"),
    }
}

fn print_flash(flash: &Flash, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "files        {}", size(flash.file_bytes))?;
    writeln!(
        out,
        "written      {} since it was made, in {} starts of the hub",
        size(flash.life_bytes),
        flash.starts
    )?;
    writeln!(
        out,
        "budget       {} of {} left to write today",
        size(flash.left_bytes),
        size(flash.daily_bytes)
    )?;
    if flash.payload_bytes > 0 {
        let written = flash.frame_bytes + flash.padding_bytes + flash.opening_bytes;
        writeln!(
            out,
            "this run     {} offered, {} written ({} per cent): {} frames, {} padding, {} openings",
            size(flash.payload_bytes),
            size(written),
            written.saturating_mul(100) / flash.payload_bytes,
            size(flash.frame_bytes),
            size(flash.padding_bytes),
            size(flash.opening_bytes)
        )?;
        writeln!(
            out,
            "             {} flushes, {} syncs, {} objects the same as kept, {} carried on to free {} segments",
            flash.flushes, flash.syncs, flash.identical, flash.carried, flash.reclaimed
        )?;
    }
    if flash.rotten > 0 || flash.last_resorts > 0 {
        writeln!(
            out,
            "lost         {} collections could no longer be read, {} segments were given up",
            flash.rotten, flash.last_resorts
        )?;
    }
    match &flash.off {
        Some(why) => writeln!(
            out,
            "STOPPED      nothing is written any more: {}",
            super::one_line(why)
        ),
        None => Ok(()),
    }
}
