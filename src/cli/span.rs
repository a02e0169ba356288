//! How long something took, as people say it.

/// `3d 4h`, `12m 30s`, `7s`: the two largest units.
pub(super) fn span(secs: u64) -> String {
    let units = [
        ("d", secs / 86_400),
        ("h", secs / 3600 % 24),
        ("m", secs / 60 % 60),
        ("s", secs % 60),
    ];
    let first = units.iter().position(|(_, n)| *n > 0).unwrap_or(3);
    let shown: Vec<String> = units
        .iter()
        .skip(first)
        .take(2)
        .filter(|(_, n)| *n > 0)
        .map(|(unit, n)| format!("{n}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (secs, want) in [
            (0, "0s"),
            (7, "7s"),
            (60, "1m"),
            (750, "12m 30s"),
            (3605, "1h"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(span(secs), want);
        }
    }
}
