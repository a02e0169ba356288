//! A flash that can be cut off at any call: what is not synced is kept, dropped, torn or garbled piece by piece, in any
//! order. It also fails on demand, loses sectors, and knows what must never be written.

use crate::rng::Rng;
use edge_hub::store::ring::media::{Media, Name};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::rc::Rc;

const BLOCK: usize = 4096;
/// What cannot be read is lost by so many bytes.
pub const SECTOR: usize = 512;

/// What lies on the flash, and what only the kernel knows.
#[derive(Clone)]
pub struct Flash {
    files: BTreeMap<Name, File>,
    /// Bytes that a cut keeps or drops together.
    piece: usize,
}

#[derive(Clone, Default)]
struct File {
    durable: Rc<Vec<u8>>,
    pending: Vec<Piece>,
    /// Sectors that give a read error.
    lost: BTreeSet<usize>,
}

#[derive(Clone)]
struct Piece {
    offset: usize,
    bytes: Rc<[u8]>,
}

impl Piece {
    fn put(&self, into: &mut [u8]) {
        into[self.offset..][..self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

impl Flash {
    pub fn new(piece: usize) -> Flash {
        Flash {
            files: BTreeMap::new(),
            piece,
        }
    }

    /// The power goes.
    pub fn cut(&mut self, rng: &mut Rng) {
        // Of a hundred pieces, so many are kept, torn, garbled; the others are dropped.
        let (kept, torn, garbled) = *rng.pick(&[
            (0, 0, 0),
            (100, 0, 0),
            (50, 15, 10),
            (90, 4, 3),
            (10, 3, 3),
            (94, 0, 0),
        ]);
        // Now and then the first ones of a file are lost, and the others there.
        let is_late = rng.one_in(6);
        for file in self.files.values_mut() {
            if file.pending.is_empty() {
                continue;
            }
            let durable = Rc::make_mut(&mut file.durable);
            let lost = rng.below(file.pending.len());
            for (number, piece) in std::mem::take(&mut file.pending).into_iter().enumerate() {
                if is_late {
                    if number >= lost {
                        piece.put(durable);
                    }
                    continue;
                }
                let here = &mut durable[piece.offset..][..piece.bytes.len()];
                let fate = rng.below(100);
                if fate < kept {
                    here.copy_from_slice(&piece.bytes);
                } else if fate < kept + torn {
                    let at = rng.below(here.len());
                    match rng.one_in(2) {
                        true => here[..at].copy_from_slice(&piece.bytes[..at]),
                        false => here[at..].copy_from_slice(&piece.bytes[at..]),
                    }
                } else if fate < kept + torn + garbled {
                    rng.fill(here);
                }
            }
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.values().map(|f| f.durable.len() as u64).sum()
    }

    /// Every file and its bytes.
    pub fn sizes(&self) -> Vec<(Name, usize)> {
        (self.files.iter())
            .map(|(name, file)| (*name, file.durable.len()))
            .collect()
    }

    pub fn flip(&mut self, name: Name, bit: usize) {
        if let Some(file) = self.files.get_mut(&name) {
            Rc::make_mut(&mut file.durable)[bit / 8] ^= 1 << (bit % 8);
        }
    }

    pub fn lose_sector(&mut self, name: Name, sector: usize) {
        if let Some(file) = self.files.get_mut(&name) {
            file.lost.insert(sector);
        }
    }

    /// Flips bits and loses sectors.
    pub fn rot(&mut self, rng: &mut Rng) {
        let sizes = self.sizes();
        for _ in 0..rng.between(1, 4) {
            let (name, bytes) = *rng.pick(&sizes);
            if bytes == 0 {
                continue;
            }
            match rng.one_in(3) {
                true => self.lose_sector(name, rng.below(bytes / SECTOR)),
                false => self.flip(name, rng.below(8 * bytes)),
            }
        }
    }

    fn read(&self, name: Name, offset: usize, buf: &mut [u8]) -> io::Result<()> {
        let file = self.files.get(&name).ok_or(io::ErrorKind::NotFound)?;
        let end = offset + buf.len();
        let bytes = (file.durable.get(offset..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        if (file.lost.range(offset / SECTOR..)).any(|sector| *sector * SECTOR < end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        buf.copy_from_slice(bytes);
        for piece in &file.pending {
            let from = piece.offset.max(offset);
            let to = (piece.offset + piece.bytes.len()).min(end);
            if from < to {
                buf[from - offset..to - offset]
                    .copy_from_slice(&piece.bytes[from - piece.offset..to - piece.offset]);
            }
        }
        Ok(())
    }

    fn write(&mut self, name: Name, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let piece = self.piece;
        let file = self.files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        assert!(
            offset + bytes.len() <= file.durable.len(),
            "written past the end of {name:?}"
        );
        let mut at = offset;
        while at < offset + bytes.len() {
            let end = (at + 1)
                .next_multiple_of(piece)
                .max(at + 1)
                .min(offset + bytes.len());
            file.pending.push(Piece {
                offset: at,
                bytes: bytes[at - offset..end - offset].into(),
            });
            file.lost
                .retain(|sector| *sector < at / SECTOR || *sector >= end.div_ceil(SECTOR));
            at = end;
        }
        Ok(())
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        let file = self.files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        if !file.pending.is_empty() {
            let durable = Rc::make_mut(&mut file.durable);
            (file.pending.drain(..)).for_each(|piece| piece.put(durable));
        }
        Ok(())
    }

    fn create(&mut self, name: Name, bytes: usize) {
        let file = File {
            durable: Rc::new(vec![0; bytes]),
            ..File::default()
        };
        self.files.insert(name, file);
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No place, at a write or where a file is made.
    NoSpace,
    /// A write fails; nothing of it is there.
    Write,
    /// A write fails; part of it is there.
    ShortWrite,
    /// A sync fails, and what it should have made durable is lost.
    Sync,
    /// From now on nothing can be written.
    ReadOnly,
    Random,
    Read,
}

impl Fault {
    pub const ALL: [Fault; 7] = [
        Fault::NoSpace,
        Fault::Write,
        Fault::ShortWrite,
        Fault::Sync,
        Fault::ReadOnly,
        Fault::Random,
        Fault::Read,
    ];

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Fault::NoSpace => 28,
            Fault::ReadOnly => 30,
            _ => 5,
        })
    }
}

type CutHere = Box<dyn Fn(Flash)>;

/// A flash and who watches it. All clones are one.
#[derive(Clone)]
pub struct Disk(Rc<Inner>);

struct Inner {
    flash: RefCell<Flash>,
    random: RefCell<Rng>,
    /// Is shown what a cut in or after each call could leave.
    cut_here: RefCell<Option<CutHere>>,
    /// Calls of the fault's kind, from now on, that still go well.
    fault: Cell<Option<(Fault, usize)>>,
    failed: Cell<usize>,
    calls: RefCell<BTreeMap<&'static str, usize>>,
    bytes_max: Cell<u64>,
    ledger: RefCell<Option<Ledger>>,
}

/// What was sealed under which key and nonce.
#[derive(Default)]
struct Ledger {
    openings: HashMap<Name, (u64, [u8; 16])>,
    sealed: HashMap<(u64, [u8; 16], u32), Vec<u8>>,
}

impl Ledger {
    fn note(&mut self, name: Name, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let block = &bytes[at..];
            let number =
                |from: usize| u32::from_le_bytes(block[from..from + 4].try_into().unwrap());
            let long = |from: usize| u64::from_le_bytes(block[from..from + 8].try_into().unwrap());
            if block.starts_with(b"EHO1") {
                let salt = block[16..32].try_into().unwrap();
                self.openings.insert(name, (long(8), salt));
                at += BLOCK;
            } else if block.starts_with(b"EHF1") {
                let (place, sealed, sequence) = (number(8), number(12) as usize, long(20));
                let (opened, salt) = self.openings[&name];
                assert_eq!(
                    opened, sequence,
                    "a frame of another segment than its opening's"
                );
                // The tag stands for the bytes.
                let tag = block[36 + sealed - 16..36 + sealed].to_vec();
                let before = self.sealed.insert((sequence, salt, place), tag.clone());
                assert!(
                    before.is_none_or(|before| before == tag),
                    "two frames under one key and nonce: segment {sequence}, block {place}"
                );
                at += (36 + sealed).next_multiple_of(BLOCK);
            } else {
                panic!("neither an opening nor a frame is written to {name:?}");
            }
        }
    }
}

impl Disk {
    pub fn new(flash: Flash, rng: &mut Rng) -> Disk {
        Disk(Rc::new(Inner {
            flash: RefCell::new(flash),
            random: RefCell::new(rng.split()),
            cut_here: RefCell::new(None),
            fault: Cell::new(None),
            failed: Cell::new(0),
            calls: RefCell::default(),
            bytes_max: Cell::new(u64::MAX),
            ledger: RefCell::new(None),
        }))
    }

    /// From now on no key and nonce may come twice.
    pub fn watch_nonces(&self) {
        *self.0.ledger.borrow_mut() = Some(Ledger::default());
    }

    pub fn on_call(&self, cut_here: impl Fn(Flash) + 'static) {
        *self.0.cut_here.borrow_mut() = Some(Box::new(cut_here));
    }

    /// No file may grow past this together with the others.
    pub fn set_bytes_max(&self, bytes: u64) {
        self.0.bytes_max.set(bytes);
    }

    /// The `n`-th call from now on that can fail so does.
    pub fn fail(&self, fault: Fault, n: usize) {
        self.0.fault.set(Some((fault, n)));
        self.0.failed.set(0);
    }

    pub fn heal(&self) {
        self.0.fault.set(None);
    }

    pub fn failed(&self) -> usize {
        self.0.failed.get()
    }

    pub fn flash(&self) -> Flash {
        self.0.flash.borrow().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Flash)) {
        change(&mut self.0.flash.borrow_mut());
    }

    fn point(&self, flash: impl FnOnce() -> Flash) {
        if let Some(cut_here) = &*self.0.cut_here.borrow() {
            cut_here(flash());
        }
    }

    fn call(&self, what: &'static str, faults: &[Fault]) -> Result<(), Fault> {
        *self.0.calls.borrow_mut().entry(what).or_default() += 1;
        let Some((fault, left)) = self.0.fault.get() else {
            return Ok(());
        };
        if !faults.contains(&fault) {
            return Ok(());
        }
        if left > 0 {
            self.0.fault.set(Some((fault, left - 1)));
            return Ok(());
        }
        self.0.failed.set(self.0.failed.get() + 1);
        if fault != Fault::ReadOnly {
            self.0.fault.set(None);
        }
        Err(fault)
    }
}

impl Media for Disk {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        let flash = self.0.flash.borrow();
        let segments = flash.files.iter().filter_map(|(name, file)| match name {
            Name::Segment(number) => Some((*number, file.durable.len() as u64)),
            Name::Super => None,
        });
        Ok(segments.collect())
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.call("read", &[Fault::Read]).map_err(Fault::error)?;
        self.0.flash.borrow().read(name, offset as usize, buf)
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use Fault::{NoSpace, ReadOnly, ShortWrite, Write};
        let failed = self.call("write", &[NoSpace, Write, ShortWrite, ReadOnly]);
        if let Err(fault) = failed {
            if fault == ShortWrite {
                let part = self.0.random.borrow_mut().below(bytes.len());
                let mut flash = self.0.flash.borrow_mut();
                flash.write(name, offset as usize, &bytes[..part])?;
            }
            return Err(fault.error());
        }
        if let (Some(ledger), Name::Segment(_)) = (&mut *self.0.ledger.borrow_mut(), name) {
            ledger.note(name, bytes);
        }
        (self.0.flash.borrow_mut()).write(name, offset as usize, bytes)?;
        self.point(|| self.flash());
        Ok(())
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        self.point(|| self.flash());
        if let Err(fault) = self.call("sync", &[Fault::Sync, Fault::ReadOnly]) {
            if fault == Fault::Sync
                && let Some(file) = self.0.flash.borrow_mut().files.get_mut(&name)
            {
                file.pending.clear();
            }
            return Err(fault.error());
        }
        self.0.flash.borrow_mut().sync(name)?;
        self.point(|| self.flash());
        Ok(())
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.point(|| {
            let part = self.0.random.borrow_mut().below(bytes as usize + 1);
            let mut flash = self.flash();
            flash.create(name, part);
            flash
        });
        if let Err(fault) = self.call("create", &[Fault::NoSpace, Fault::ReadOnly]) {
            if fault == Fault::NoSpace {
                self.change(|flash| flash.create(name, bytes as usize / 2));
            }
            return Err(fault.error());
        }
        self.change(|flash| flash.create(name, bytes as usize));
        let all = self.0.flash.borrow().bytes();
        assert!(all <= self.0.bytes_max.get(), "{all} bytes: above the cap");
        self.point(|| self.flash());
        Ok(())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.call("remove", &[Fault::ReadOnly])
            .map_err(Fault::error)?;
        let gone = self.0.flash.borrow_mut().files.remove(&name);
        self.point(|| self.flash());
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        self.call("random", &[Fault::Random])
            .map_err(Fault::error)?;
        self.0.random.borrow_mut().fill(out);
        Ok(())
    }
}
