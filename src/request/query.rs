//! The query of a request: the list options that the hub must understand, and the rest as it came.

use super::path::decode;

/// List options and what else changes the data (kubernetes-api.md 3.2, 3.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    pub watch: bool,
    pub resource_version: Option<String>,
    pub limit: Option<u64>,
    pub continue_token: Option<String>,
    /// Seconds, as `timeoutSeconds` says.
    pub timeout_secs: Option<u64>,
    /// Whole seconds of the client's own `timeout=5m33s`, which only Go clients send.
    pub client_timeout_secs: Option<u64>,
    pub send_initial_events: bool,
    pub allow_bookmarks: bool,
    pub exact_match: bool,
    pub not_older: bool,
    pub pretty: bool,
    pub label_selector: String,
    pub field_selector: String,
    /// Every other parameter, decoded, sorted, as `name=value` lines: it may change the data, so it is part of a key.
    pub others: String,
    /// A parameter that came twice, or an escape that is broken: two programs may read it differently. Or list options that
    /// the API server refuses, each for a reason that it tells better. So it is passed on, and never kept.
    pub ambiguous: bool,
}

/// What a client says about the version of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand<'a> {
    /// Whatever is newest.
    Any,
    NotOlderThan(&'a str),
    Exactly(&'a str),
    /// What follows on a page that it has.
    NextPage,
}

/// Reads a query string as the API server does. Never fails: what cannot be read makes it `ambiguous`.
pub fn parse(query: Option<&str>) -> Options {
    let mut out = Options::default();
    let mut others: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(raw_name, true), decode(raw_value, true)) else {
            // The server then takes any `watch` that is not plainly false for one.
            out.ambiguous = true;
            out.watch |= raw_name == "watch" && is_true(raw_value);
            continue;
        };
        if pair.contains(';') || seen.contains(&name) {
            out.ambiguous = true;
            continue;
        }
        out.set(&name, value, &mut others);
        seen.push(name);
    }
    others.sort_unstable();
    out.others = others.join("\n");
    // As apimachinery validates a watch: neither goes without the other (KEP-3157).
    let has = |name: &str| seen.iter().any(|seen| seen == name);
    let initial = has("sendInitialEvents");
    let is_matched = has("resourceVersionMatch");
    out.ambiguous |= match out.watch {
        true => initial != is_matched || is_matched && !out.not_older,
        false => initial,
    };
    out
}

impl Options {
    fn set(&mut self, name: &str, value: String, others: &mut Vec<String>) {
        match name {
            "watch" => self.watch = is_true(&value),
            "resourceVersion" => {
                self.ambiguous |= !value.is_empty() && !is_number(&value);
                self.resource_version = Some(value).filter(|v| !v.is_empty());
            }
            "resourceVersionMatch" => {
                self.exact_match = value == "Exact";
                self.not_older = value == "NotOlderThan";
            }
            "limit" => self.limit = value.parse().ok().filter(|n| *n > 0),
            "continue" => self.continue_token = Some(value).filter(|v| !v.is_empty()),
            "timeoutSeconds" => {
                self.ambiguous |= !value.is_empty() && !is_number(&value);
                self.timeout_secs = value.parse().ok();
            }
            "timeout" => self.client_timeout_secs = go_duration_secs(&value),
            "sendInitialEvents" => self.send_initial_events = is_true(&value),
            "allowWatchBookmarks" => self.allow_bookmarks = is_true(&value),
            "pretty" => self.pretty = true,
            "labelSelector" => self.label_selector = value,
            "fieldSelector" => self.field_selector = value,
            _ => others.push(format!("{name}={value}")),
        }
    }

    /// What the client says about the version of its answer.
    pub fn demand(&self) -> Demand<'_> {
        let version = self.resource_version.as_deref().filter(|v| *v != "0");
        match version {
            _ if self.continue_token.is_some() => Demand::NextPage,
            // Without a match, a limit makes it exact (kubernetes-api.md 3.2).
            Some(version) if self.exact_match || (self.limit.is_some() && !self.not_older) => {
                Demand::Exactly(version)
            }
            Some(version) => Demand::NotOlderThan(version),
            None => Demand::Any,
        }
    }

    /// The X of `fieldSelector=metadata.name=X`, when that is the whole selector.
    pub fn name_selected(&self) -> Option<&str> {
        let value = self.field_selector.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!value.is_empty() && !value.contains([',', '=', '!', '\\', '/', '%'])).then_some(value)
    }

    /// True where the reply shows all objects of the path.
    pub fn is_unselected(&self) -> bool {
        self.label_selector.is_empty() && self.field_selector.is_empty() && self.others.is_empty()
    }
}

/// Digits alone: a sign in front is another number, or none.
fn is_number(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<u64>().is_ok()
}

/// As apimachinery converts a query value to bool: all but "false" and "0" is true, the empty one too.
fn is_true(value: &str) -> bool {
    !(value.eq_ignore_ascii_case("false") || value == "0")
}

/// Whole seconds of a Go duration such as `5m33s`, `1h0m5.5s` or `34s`.
fn go_duration_secs(text: &str) -> Option<u64> {
    let mut millis = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |n| end + n);
        let unit: u64 = match &rest[end..unit_end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        // What is after the point is less than a second for all units that Go prints with one.
        let whole = rest[..end].split('.').next()?;
        let part = whole.parse::<u64>().ok()?.checked_mul(unit)?;
        millis = millis.checked_add(part)?;
        rest = &rest[unit_end..];
    }
    Some(millis / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("5m33s", Some(333)),
            ("34s", Some(34)),
            ("1h0m5.5s", Some(3605)),
            ("500ms", Some(0)),
            ("5", None),
            ("x", None),
            ("", Some(0)),
            ("99999999999999999999h", None),
            ("9999999999999999h", None),
        ] {
            assert_eq!(go_duration_secs(text), want, "{text}");
        }
    }

    #[test]
    fn options() {
        let o = parse(Some(
            "watch=1&resourceVersion=5&timeoutSeconds=9&labelSelector=a%3Db%2Cc&fieldSelector=metadata.name%3Dx&shardSelector=z&limit=500",
        ));
        assert!(o.watch && !o.ambiguous);
        assert_eq!(o.resource_version.as_deref(), Some("5"));
        assert_eq!((o.timeout_secs, o.limit), (Some(9), Some(500)));
        assert_eq!(o.label_selector, "a=b,c");
        assert_eq!(o.name_selected(), Some("x"));
        assert_eq!(o.others, "shardSelector=z");
        assert!(!o.is_unselected());
    }

    #[test]
    fn watch_is_true_unless_plainly_false() {
        for (query, want) in [
            ("watch=true", true),
            ("watch=false", false),
            ("watch=0", false),
            ("watch=False", false),
            ("watch=", true),
            ("watch", true),
            ("", false),
            ("watch=%zz", true),
        ] {
            assert_eq!(parse(Some(query)).watch, want, "{query}");
        }
    }

    #[test]
    fn what_may_be_read_two_ways_is_never_kept() {
        for query in [
            "limit=1&limit=2",
            "a;b=c",
            "x=%zz",
            "labelSelector=a&labelSelector=b",
        ] {
            assert!(parse(Some(query)).ambiguous, "{query}");
        }
    }

    #[test]
    fn name_selectors() {
        for (selector, want) in [
            ("metadata.name=x", Some("x")),
            ("metadata.name==x", Some("x")),
            ("metadata.name!=x", None),
            ("metadata.name=x,spec.y=z", None),
            ("spec.nodeName=x", None),
            ("metadata.name=", None),
        ] {
            let o = Options {
                field_selector: selector.into(),
                ..Options::default()
            };
            assert_eq!(o.name_selected(), want, "{selector}");
        }
    }
}
