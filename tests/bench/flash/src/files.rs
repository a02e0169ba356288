//! A file for each object, replaced as one does it by hand: write another, sync it, rename it, sync the folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::objects::{Kind, Objects};

pub struct Files {
    dir: PathBuf,
    pub syncs: u64,
}

impl Files {
    pub fn open(dir: &Path) -> io::Result<Files> {
        for kind in Kind::ALL {
            fs::create_dir_all(dir.join(kind.resource().1))?;
        }
        Ok(Files {
            dir: dir.to_owned(),
            syncs: 0,
        })
    }

    pub fn put(&mut self, objects: &Objects, at: usize) -> io::Result<()> {
        let dir = self.dir.join(objects.kind(at).resource().1);
        let name = dir.join(objects.key(at).replace('/', "."));
        let new = name.with_extension("tmp");
        let mut file = File::create(&new)?;
        file.write_all(&objects.json(at))?;
        file.sync_all()?;
        fs::rename(&new, &name)?;
        File::open(&dir)?.sync_all()?;
        self.syncs += 2;
        Ok(())
    }
}
