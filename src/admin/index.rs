//! What is kept, as text for a person: one page for each agent, one line for each collection. Names are the API
//! server's and its clients', so whatever they hold, a line stays one line and a word one word. Pure.

use crate::cache::Shown;
use crate::cache::key::Scope;
use crate::limits::{
    AGENTS_SHOWN_MAX, INDEX_BYTES_MAX, INDEX_COLUMN_CHARS_MAX, INDEX_WORD_CHARS_MAX,
};
use crate::object::Encoding;
use crate::request::agent::Class;
use std::time::Duration;

/// What is kept for one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// As it calls itself. Not yet a file's name.
    pub agent: String,
    /// How dear its answers are; `None`: they are no longer wanted.
    pub class: Option<Class>,
    /// The lines, without the first one: that has the time, which alone is no change.
    pub text: String,
}

const DEAREST_FIRST: [Option<Class>; 4] = [
    Some(Class::Pinned),
    Some(Class::Named),
    Some(Class::Wild),
    None,
];

const COLUMNS: [&str; 10] = [
    "# collection",
    "namespace/selector",
    "state",
    "objects",
    "bytes",
    "version",
    "age",
    "class",
    "format",
    "who",
];

/// A page for each agent, the dearest first: at most [`AGENTS_SHOWN_MAX`], with [`INDEX_BYTES_MAX`] together. What has
/// no place is counted in the last line. `shown` is in the order of its keys, which begin with the agent.
pub fn pages(shown: &[Shown], class_of: impl Fn(&str) -> Option<Class>) -> Vec<Page> {
    let mut left = INDEX_BYTES_MAX;
    let mut pages = Vec::new();
    for class in DEAREST_FIRST {
        for rows in shown.chunk_by(|a, b| a.key.agent == b.key.agent) {
            let Some(first) = rows.first() else { continue };
            let agent = &first.key.agent;
            if class_of(agent) == class && pages.len() < AGENTS_SHOWN_MAX {
                pages.push(Page {
                    agent: agent.clone(),
                    class,
                    text: lines(rows, class, &mut left),
                });
            }
        }
    }
    pages
}

fn lines(rows: &[Shown], class: Option<Class>, left: &mut usize) -> String {
    let table: Vec<_> = rows.iter().map(|row| words(row, class)).collect();
    let head = COLUMNS.map(str::to_owned);
    let mut widths = COLUMNS.map(str::len);
    for row in &table {
        for (width, word) in widths.iter_mut().zip(row) {
            *width = (*width).max(word.len().min(INDEX_COLUMN_CHARS_MAX));
        }
    }
    let mut text = line(&head, &widths);
    for (count, row) in table.iter().enumerate() {
        let line = line(row, &widths);
        if line.len() > *left {
            text += &format!("# {} more have no place here\n", table.len() - count);
            break;
        }
        *left -= line.len();
        text += &line;
    }
    text
}

fn line(words: &[String; COLUMNS.len()], widths: &[usize; COLUMNS.len()]) -> String {
    let mut line = String::new();
    for (word, width) in words.iter().zip(widths) {
        line += &format!("{word:<width$}  ");
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn words(row: &Shown, class: Option<Class>) -> [String; COLUMNS.len()] {
    let (collection, within) = place(&row.key.scope);
    [
        collection,
        within,
        state(row).to_owned(),
        row.objects.to_string(),
        row.bytes.to_string(),
        word(&row.version),
        age(row.age),
        class_word(class).to_owned(),
        match row.key.encoding {
            Encoding::Json => "json".to_owned(),
            Encoding::Protobuf => "protobuf".to_owned(),
        },
        row.key.who.to_string(),
    ]
}

/// Whether it is current. All that is kept is whole.
pub(crate) fn state(row: &Shown) -> &'static str {
    match (row.live, row.behind) {
        (_, true) => "behind",
        (true, false) => "complete",
        (false, false) => "frozen(not-followed)",
    }
}

pub(crate) fn class_word(class: Option<Class>) -> &'static str {
    match class {
        Some(Class::Pinned) => "pinned",
        Some(Class::Named) => "named",
        Some(Class::Wild) => "wild",
        None => "unwanted",
    }
}

/// `deployments.v1.apps` and `default/app=shop`.
pub(crate) fn place(scope: &Scope) -> (String, String) {
    let resource = |resource: &str, version: &str, group: &str| match group {
        "" => word(&format!("{resource}.{version}")),
        group => word(&format!("{resource}.{version}.{group}")),
    };
    match scope {
        Scope::Objects(o) => {
            let selectors = [&o.label_selector, &o.field_selector, &o.others];
            let selectors = selectors.map(String::as_str);
            let selectors: Vec<&str> = selectors.into_iter().filter(|s| !s.is_empty()).collect();
            let within = format!("{}/{}", word(&o.namespace), word(&selectors.join("&")));
            (resource(&o.resource, &o.version, &o.group), within)
        }
        Scope::One(one) => {
            let mut name = format!("name={}", one.name);
            for (mark, rest) in [("/", &one.subresource), ("&", &one.others)] {
                if !rest.is_empty() {
                    name = name + mark + rest;
                }
            }
            let within = format!("{}/{}", word(&one.namespace), word(&name));
            (resource(&one.resource, &one.version, &one.group), within)
        }
        Scope::Document(document) => (word(&document.path_and_query), "-/-".to_owned()),
    }
}

/// Coarse, so that what only grows older is seldom a change.
pub(crate) fn age(age: Duration) -> String {
    match age.as_secs() {
        0 => "0s".to_owned(),
        secs if secs < 60 => "<1m".to_owned(),
        secs if secs < 3600 => format!("{}m", secs / 60),
        secs if secs < 86_400 => format!("{}h", secs / 3600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// The text as one word: what is not visible ASCII, and `#`, as in a URL; cut; `-` for nothing.
pub(crate) fn word(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::new();
    for byte in text.bytes() {
        if out.len() >= INDEX_WORD_CHARS_MAX {
            return out + "...";
        }
        match byte {
            b'!'..=b'~' if byte != b'#' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Who;
    use crate::cache::key::{Document, Key, Objects, One};
    use crate::request::Form;
    use crate::store::CollectionId;

    fn row(agent: &str, scope: Scope, live: bool, age_secs: u64) -> Shown {
        Shown {
            id: CollectionId(1),
            key: Key {
                agent: agent.to_owned(),
                who: Who::Anonymous,
                scope,
                encoding: Encoding::Json,
                form: Form::Object,
            },
            objects: 3,
            bytes: 4096,
            version: "4711".to_owned(),
            live,
            behind: false,
            age: Duration::from_secs(age_secs),
        }
    }

    fn list(resource: &str, group: &str, namespace: &str, labels: &str, fields: &str) -> Scope {
        Scope::Objects(Objects {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            label_selector: labels.to_owned(),
            field_selector: fields.to_owned(),
            others: String::new(),
        })
    }

    /// The words of the lines that are not comments.
    fn words_of(page: &Page) -> Vec<Vec<&str>> {
        let lines = page.text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split_ascii_whitespace().collect())
            .collect()
    }

    #[test]
    fn a_line_for_each_collection() {
        let one = Scope::One(One {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "nodes".to_owned(),
            namespace: String::new(),
            name: "gw-1".to_owned(),
            subresource: "status".to_owned(),
            others: String::new(),
        });
        let document = Scope::Document(Document {
            path_and_query: "/apis".to_owned(),
            accept: "application/json".to_owned(),
            content_type: String::new(),
        });
        let rows = [
            row(
                "kubelet",
                list("pods", "", "", "", "spec.nodeName=gw-1"),
                true,
                0,
            ),
            row(
                "kubelet",
                list("deployments", "apps", "shop", "a in (b)", "c=d"),
                false,
                7,
            ),
            row("kubelet", one, false, 7200),
            row("kubelet", document, false, 90_000),
        ];
        let pages = pages(&rows, |_| Some(Class::Pinned));
        assert_eq!(pages.len(), 1);
        let rest = |state, age| format!("{state} 3 4096 4711 {age} pinned json anonymous");
        let frozen = "frozen(not-followed)";
        let want = [
            format!("pods.v1 -/spec.nodeName=gw-1 {}", rest("complete", "0s")),
            format!(
                "deployments.v1.apps shop/a%20in%20(b)&c=d {}",
                rest(frozen, "<1m")
            ),
            format!("nodes.v1 -/name=gw-1/status {}", rest(frozen, "2h")),
            format!("/apis -/- {}", rest(frozen, "1d")),
        ];
        let got: Vec<String> = words_of(&pages[0]).iter().map(|w| w.join(" ")).collect();
        assert_eq!(got, want);
        let first = pages[0].text.lines().next().unwrap();
        assert!(first.starts_with("# collection") && first.ends_with("who"));
        let columns: Vec<_> = pages[0].text.lines().map(|l| l.find("4711")).collect();
        assert_eq!(columns[1], columns[2], "{}", pages[0].text);
    }

    #[test]
    fn no_name_breaks_a_line() {
        for odd in ["a\nb 1 2", "#", " ", "\u{202e}x\t", "é\u{7f}"] {
            let rows = [row("x", list(odd, odd, odd, odd, odd), true, 0)];
            let page = &pages(&rows, |_| None)[0];
            let words = words_of(page);
            assert_eq!((words.len(), words[0].len()), (1, COLUMNS.len()), "{odd:?}");
            assert!(
                page.text
                    .bytes()
                    .all(|b| b == b'\n' || (b' '..=b'~').contains(&b))
            );
            assert_eq!(words[0][7], "unwanted");
        }
        let long = "x".repeat(100_000);
        let rows = [row("x", list(&long, &long, &long, &long, &long), true, 0)];
        assert!(pages(&rows, |_| None)[0].text.len() < 1500);
    }

    #[test]
    fn the_dearest_first_and_not_more_than_fit() {
        let mut rows: Vec<Shown> = (0..AGENTS_SHOWN_MAX)
            .map(|i| {
                row(
                    &format!("wild-{i:03}"),
                    list("pods", "", "", "", ""),
                    true,
                    0,
                )
            })
            .collect();
        rows.push(row("zeta", list("pods", "", "", "", ""), true, 0));
        let class = |agent: &str| match agent {
            "zeta" => Some(Class::Pinned),
            _ => Some(Class::Wild),
        };
        let shown = pages(&rows, class);
        assert_eq!(shown.len(), AGENTS_SHOWN_MAX);
        assert_eq!((&*shown[0].agent, &*shown[1].agent), ("zeta", "wild-000"));

        let long = "x".repeat(INDEX_WORD_CHARS_MAX);
        let rows: Vec<Shown> = (0..4000)
            .map(|i| {
                row(
                    ["a", "b"][i / 2000],
                    list(&long, "", &long, "", ""),
                    true,
                    0,
                )
            })
            .collect();
        let shown = pages(&rows, |_| None);
        let bytes: usize = shown.iter().map(|page| page.text.len()).sum();
        assert!(
            (INDEX_BYTES_MAX - 1000..INDEX_BYTES_MAX + 1000).contains(&bytes),
            "{bytes}"
        );
        let here = words_of(&shown[0]).len();
        let last = format!("# {} more have no place here\n", 2000 - here);
        assert!(shown[0].text.ends_with(&last));
        assert!(shown[1].text.ends_with("# 2000 more have no place here\n"));
    }

    #[test]
    fn ages() {
        for (secs, want) in [
            (0, "0s"),
            (1, "<1m"),
            (59, "<1m"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (86_399, "23h"),
            (86_400, "1d"),
        ] {
            assert_eq!(age(Duration::from_secs(secs)), want);
        }
    }
}
