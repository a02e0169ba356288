//! What the kernel knows of the wear of the machine's flash: what an eMMC tells of itself, and how often UBI has erased.

use crate::limits;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worn {
    /// As the kernel names it: `mmc0:0001`, `ubi0`.
    pub device: String,
    /// Of an eMMC: of its life, so much is used at most, in steps of ten; 110: all of it.
    pub life_used_percent: Option<u64>,
    /// Of an eMMC: of the blocks in reserve, so much is used at least.
    pub reserve_used_percent: Option<u64>,
    /// Of UBI: times that the block erased most often was erased.
    pub erases_max: Option<u64>,
}

/// All devices that tell something. `sys`: where sysfs is.
pub fn worn(sys: &Path) -> Vec<Worn> {
    // Documentation/driver-api/mmc/mmc-dev-attrs.rst, Documentation/ABI/stable/sysfs-class-ubi.
    let mut all = each(&sys.join("bus/mmc/devices"), |dir, device| Worn {
        device,
        life_used_percent: text(dir, "life_time").and_then(|text| life_used_percent(&text)),
        reserve_used_percent: text(dir, "pre_eol_info").and_then(|t| reserve_used_percent(&t)),
        erases_max: None,
    });
    all.extend(each(&sys.join("class/ubi"), |dir, device| Worn {
        device,
        life_used_percent: None,
        reserve_used_percent: None,
        erases_max: text(dir, "max_ec").and_then(|text| text.trim().parse().ok()),
    }));
    all.retain(|w| {
        (w.life_used_percent
            .or(w.reserve_used_percent)
            .or(w.erases_max))
        .is_some()
    });
    all.sort_by(|a, b| a.device.cmp(&b.device));
    all
}

impl Worn {
    /// What somebody should do something about.
    pub fn warning(&self) -> Option<String> {
        let what = match (self.life_used_percent, self.reserve_used_percent) {
            (Some(110..), _) => "has used up the life that it was made for",
            (_, Some(90..)) => "has used 90 % of the blocks that it has in reserve",
            (_, Some(80..)) => "has used 80 % of the blocks that it has in reserve",
            _ => return None,
        };
        Some(format!(
            "the flash {} {what}: it will fail, replace it",
            self.device
        ))
    }
}

fn each(dir: &Path, read: impl Fn(&Path, String) -> Worn) -> Vec<Worn> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .take(limits::FLASH_DEVICES_MAX)
        .filter_map(|entry| Some(read(&entry.path(), entry.file_name().into_string().ok()?)))
        .collect()
}

/// An attribute: one short line.
fn text(dir: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(dir.join(name)).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `0x01 0x02`: of two kinds of cells, in tenths, rounded up (JESD84-B51, DEVICE_LIFE_TIME_EST). 0: not told.
fn life_used_percent(text: &str) -> Option<u64> {
    let tenths = text.split_whitespace().filter_map(hex);
    tenths
        .max()
        .filter(|t| (1..=11).contains(t))
        .map(|tenths| 10 * tenths)
}

/// `0x01`: less than 80 % of the reserve is used, `0x02`: 80, `0x03`: 90 (PRE_EOL_INFO). 0: not told.
fn reserve_used_percent(text: &str) -> Option<u64> {
    match hex(text.trim())? {
        1 => Some(0),
        2 => Some(80),
        3 => Some(90),
        _ => None,
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_emmc_tells() {
        for (text, percent) in [
            ("0x01 0x01\n", Some(10)),
            ("0x02 0x0a\n", Some(100)),
            ("0x0b 0x01\n", Some(110)),
            ("0x00 0x03\n", Some(30)),
            ("0x00 0x00\n", None),
            ("0x0c 0x01\n", None),
            ("0xffffffffffffffffff 7 x", None),
            ("", None),
        ] {
            assert_eq!(life_used_percent(text), percent, "{text}");
        }
        for (text, percent) in [
            ("0x01\n", Some(0)),
            ("0x02", Some(80)),
            ("0x03", Some(90)),
            ("0x00", None),
            ("3", None),
        ] {
            assert_eq!(reserve_used_percent(text), percent, "{text}");
        }
    }

    #[test]
    fn devices_are_found_where_the_kernel_shows_them() {
        let sys = std::env::temp_dir().join(format!("edge-hub-wear-{}", std::process::id()));
        assert_eq!(worn(&sys), []);
        for (path, text) in [
            ("bus/mmc/devices/mmc0:0001/life_time", "0x01 0x02\n"),
            ("bus/mmc/devices/mmc0:0001/pre_eol_info", "0x02\n"),
            ("bus/mmc/devices/mmc1:aaaa/type", "SD\n"),
            ("class/ubi/ubi0/max_ec", "1203\n"),
            ("class/ubi/ubi0_0/name", "rootfs\n"),
        ] {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        let found = worn(&sys);
        let emmc = Worn {
            device: "mmc0:0001".to_owned(),
            life_used_percent: Some(20),
            reserve_used_percent: Some(80),
            erases_max: None,
        };
        let ubi = Worn {
            device: "ubi0".to_owned(),
            life_used_percent: None,
            reserve_used_percent: None,
            erases_max: Some(1203),
        };
        assert_eq!(found, [emmc, ubi]);
        let warnings: Vec<String> = found.iter().filter_map(Worn::warning).collect();
        assert_eq!(
            warnings,
            [
                "the flash mmc0:0001 has used 80 % of the blocks that it has in reserve: it will fail, replace it"
            ]
        );
        fs::remove_dir_all(&sys).expect("it is there");
    }
}
