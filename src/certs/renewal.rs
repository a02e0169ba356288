//! When a certificate that the hub has asked for is asked for anew. Pure.

use super::csr::{self, Signer, Wanted};
use super::load::Pair;
use crate::limits::CERT_RENEWAL_WARN_DAYS;
use crate::sys::clock::rfc3339;

/// Why a certificate is asked for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is none.
    None,
    /// Its time has come.
    Age,
    /// It is for another node, or lacks a name by which the hub is called now.
    Other,
}

/// Whether the certificate that is there has to be asked for anew at `now_unix_secs`.
pub fn due(pair: Option<&Pair>, wanted: &Wanted<'_>, now_unix_secs: u64) -> Option<Due> {
    let Some(pair) = pair else {
        return Some(Due::None);
    };
    if !fits(pair, wanted) {
        return Some(Due::Other);
    }
    (now_unix_secs >= renew_at(pair)).then_some(Due::Age)
}

/// Whether a certificate is what is wanted, whatever its age.
pub fn fits(pair: &Pair, wanted: &Wanted<'_>) -> bool {
    let subject = pair.subject();
    let name = csr::user_of(wanted.node_name);
    subject.common_name.as_ref() == Some(&name)
        && subject.organizations.iter().any(|o| o == csr::GROUP)
        && (wanted.signer == Signer::Client || pair.covers(wanted.sans))
}

/// When it is renewed, in seconds since 1970, UTC: after 70 to 90 of a hundred parts of its life, as the kubelet does, so
/// that what was issued together is not renewed together. The certificate itself says where in between: each start
/// finds the same.
pub fn renew_at(pair: &Pair) -> u64 {
    at(
        pair.not_before_unix_secs(),
        pair.not_after_unix_secs(),
        pair.fingerprint(),
    )
}

fn at(not_before: u64, not_after: u64, fingerprint: [u8; 32]) -> u64 {
    let life = not_after.saturating_sub(not_before);
    let share = u64::from(u16::from_be_bytes([fingerprint[0], fingerprint[1]]));
    // Dates end with the year 9999, so nothing overflows.
    not_before + life * 7 / 10 + life * share / (5 * 65_536)
}

/// What to say of a pair that others renew, and have not: from 30 days before its end on, and when nine tenths of its life
/// are over. By then whoever renews it has tried for long.
pub fn left_to_end(what: &str, pair: &Pair, now: u64) -> Option<String> {
    let (begin, end) = (pair.not_before_unix_secs(), pair.not_after_unix_secs());
    let is_old = now >= end.saturating_sub(end.saturating_sub(begin) / 10);
    let days = end.saturating_sub(now) / 86_400;
    if !is_old || days >= CERT_RENEWAL_WARN_DAYS {
        return None;
    }
    let (subject, at) = (pair.subject(), rfc3339(end));
    let how = match end < now {
        true => "is over, and still shown, the servers decide".to_owned(),
        false => format!("ends in {days} days"),
    };
    Some(format!(
        "{what}: the certificate of {subject} {how} ({at}): nobody has renewed it; see to whoever does, such as the kubelet"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::LAST_UNIX_SECS;

    #[test]
    fn between_seven_and_nine_tenths_of_its_life() {
        let print = |first: u16| {
            let mut fingerprint = [0; 32];
            fingerprint[..2].copy_from_slice(&first.to_be_bytes());
            fingerprint
        };
        for (from, until, first, want) in [
            (1_000, 2_000, 0, 1_700),
            (1_000, 2_000, 0x8000, 1_800),
            (1_000, 2_000, 0xffff, 1_899),
            (5, 5, 0xffff, 5),
            // Over before it began: at once.
            (9, 5, 0xffff, 9),
            (0, LAST_UNIX_SECS, 0, LAST_UNIX_SECS * 7 / 10),
        ] {
            assert_eq!(
                at(from, until, print(first)),
                want,
                "{from} {until} {first}"
            );
        }
        assert!(at(0, LAST_UNIX_SECS, print(0xffff)) < LAST_UNIX_SECS);
    }
}
