//! Resource versions. Equal ones are equal; decimal ones of one resource can be compared (KEP-5504, GA in 1.35, and
//! true of every etcd-backed server before); of all others nothing is known.

use std::cmp::Ordering;

/// Which of two versions of one resource is the later. `None`: cannot be known.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    Some(number(a)?.cmp(&number(b)?))
}

/// True only where it is certain.
pub fn is_older(a: &str, b: &str) -> bool {
    compare(a, b) == Some(Ordering::Less)
}

fn number(version: &str) -> Option<u64> {
    let canonical = version.len() <= 20
        && !version.starts_with('0')
        && version.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| version.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (a, b, want) in [
            ("5", "5", Some(Ordering::Equal)),
            ("5", "10", Some(Ordering::Less)),
            ("10", "5", Some(Ordering::Greater)),
            ("abc", "abc", Some(Ordering::Equal)),
            ("abc", "5", None),
            ("05", "6", None),
            ("0", "5", None),
            ("", "5", None),
            ("18446744073709551616", "5", None),
            ("18446744073709551615", "5", Some(Ordering::Greater)),
        ] {
            assert_eq!(compare(a, b), want, "{a} {b}");
        }
    }
}
