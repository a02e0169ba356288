//! What the kernel knows about this process and its machine, for `status`.

use super::file::read_bounded;
use crate::limits::PROC_FILE_BYTES_MAX;
use std::path::Path;
use std::time::Duration;

/// Memory that the process takes, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What is in RAM, with what is shared counted in full.
    pub rss_kib: u64,
    /// What is in RAM, with what is shared divided by those who share it: the honest number.
    pub pss_kib: u64,
    /// What no other process has.
    pub private_kib: u64,
}

/// Memory of this process, from `/proc/self/smaps_rollup` (Linux 4.14); `None` where there is no such.
pub fn memory() -> Option<Memory> {
    parse_smaps_rollup(&proc_text("/proc/self/smaps_rollup")?)
}

/// How long this process has been running, unmoved by changes of the wall clock; sleep of the machine counts.
pub fn age() -> Option<Duration> {
    let stat = proc_text("/proc/self/stat")?;
    let uptime = proc_text("/proc/uptime")?;
    parse_uptime(&uptime)?.checked_sub(parse_start(&stat)?)
}

/// When this process started, in seconds since 1970, given that it now is `now_unix_secs`. A clock that was set since
/// is thereby set for the start too.
pub fn process_start(now_unix_secs: u64) -> Option<u64> {
    now_unix_secs.checked_sub(age()?.as_secs())
}

/// The name of the host as the kubelet makes a node name of it: trimmed, in lower case. `None` if it is empty or no
/// text.
pub fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let name = name.trim().to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

/// Of `/proc`, times are in ticks of 1/100 s on every architecture that the hub runs on.
const TICKS_PER_SEC: u64 = 100;

fn proc_text(path: &str) -> Option<String> {
    let bytes = read_bounded(Path::new(path), PROC_FILE_BYTES_MAX).ok()?;
    String::from_utf8(bytes).ok()
}

fn parse_smaps_rollup(text: &str) -> Option<Memory> {
    let kib = |field: &str| {
        text.lines().find_map(|line| {
            let rest = line.strip_prefix(field)?.strip_prefix(':')?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
    };
    Some(Memory {
        rss_kib: kib("Rss")?,
        pss_kib: kib("Pss")?,
        private_kib: kib("Private_Clean")?.checked_add(kib("Private_Dirty")?)?,
    })
}

/// proc_pid_stat(5): the 22nd field; the second is a name in brackets that may hold anything.
fn parse_start(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: u64 = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(
        ticks.checked_mul(1000 / TICKS_PER_SEC)?,
    ))
}

fn parse_uptime(text: &str) -> Option<Duration> {
    let (secs, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let millis = hundredths.parse::<u64>().ok()?.checked_mul(10)?;
    Duration::from_secs(secs.parse().ok()?).checked_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let memory = memory().unwrap();
        assert!(
            memory.rss_kib >= memory.pss_kib && memory.pss_kib > 0,
            "{memory:?}"
        );
        assert!(age().unwrap() < Duration::from_secs(86_400));
        let now = super::super::clock::system_unix_secs();
        assert!(process_start(now).unwrap() <= now);
        assert!(host_name().is_some());
    }

    #[test]
    fn what_the_kernel_writes() {
        let text = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  1234 kB\nPss:   567 kB\nPss_Dirty: 9 kB\n\
                    Private_Clean:  3 kB\nPrivate_Dirty: 4 kB\n";
        let expected = Memory {
            rss_kib: 1234,
            pss_kib: 567,
            private_kib: 7,
        };
        assert_eq!(parse_smaps_rollup(text), Some(expected));
        assert_eq!(parse_smaps_rollup("Rss: x kB\n"), None);
        assert_eq!(
            parse_uptime("350735.47 234388.90\n"),
            Some(Duration::from_millis(350_735_470))
        );
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_start(stat), Some(Duration::from_millis(47_110)));
        for broken in ["", ")", "7 (x) S 1", "1.x", "."] {
            assert_eq!((parse_start(broken), parse_uptime(broken)), (None, None));
        }
    }
}
