//! What the client of one watch has been told so far, and so where its watch can be taken up again. Pure.

use super::event::{Event, EventType};
use crate::cache::version;
use crate::request::Options;
use std::cmp::Ordering;

/// What one client was told.
pub struct Told {
    /// Everything up to this version, and nothing after it. Empty: no version says what.
    upto: String,
    order: Order,
    /// Any object at all.
    any: bool,
    /// The client takes bookmarks.
    bookmarks: bool,
    /// The watch was taken up again, and nothing has come since: what comes first may be what the client has.
    again: bool,
}

/// Whether the events come in the order of their versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// They do.
    Versions,
    /// Not before the bookmark that ends the initial events of a watch list.
    Marked,
    /// Not yet: a watch from nothing begins with every object there is. From 1.34 on the API server marks the end of these
    /// too, for those who take bookmarks; before, the next bookmark or change tells that they are over.
    Unmarked,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The client gets it.
    Pass,
    /// The client has it, or does not take such events.
    Withhold,
    /// The client gets it, and it is the last: the stream has failed.
    Last,
    /// The API server no longer has what came after the client's version. The client does not get that.
    Expired,
    /// It is older than what the client was told: etcd was restored from a backup.
    Backwards,
}

/// How a watch goes on that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoOn {
    /// After what the client was told.
    After,
    /// From the beginning, for nothing was told.
    Afresh,
    /// Not: it ends, and the client begins anew where it thinks that it is.
    End,
    /// Not: it fails. To end a watch list before its mark would make the client ask again at once, for ever
    /// (kubernetes-api.md 3.4).
    Fail,
}

impl Told {
    /// What a client was told that asks so: what it says that it knows.
    pub fn new(options: &Options) -> Told {
        let from = options.resource_version.clone().filter(|v| v != "0");
        let (upto, order) = match from {
            _ if options.send_initial_events => (String::new(), Order::Marked),
            Some(from) => (from, Order::Versions),
            None => (String::new(), Order::Unmarked),
        };
        Told {
            upto,
            order,
            any: false,
            bookmarks: options.allow_bookmarks,
            again: false,
        }
    }

    /// Takes note of the next event and says what becomes of it.
    pub fn event(&mut self, event: &Event<'_>) -> Verdict {
        if event.event_type == EventType::Error {
            return match event.status_code {
                Some(410) if self.version().is_some() => Verdict::Expired,
                _ => Verdict::Last,
            };
        }
        let version = event.meta.resource_version.as_ref();
        let is_bookmark = event.event_type == EventType::Bookmark;
        if version.is_empty() {
            self.unread();
            return Verdict::Pass;
        }
        let waited_for = self.order == Order::Marked && event.initial_events_end;
        match (self.order, event.event_type) {
            (Order::Marked, _) if waited_for => self.order = Order::Versions,
            (Order::Marked, _) | (Order::Unmarked, EventType::Added) => {
                self.any |= !is_bookmark;
                return Verdict::Pass;
            }
            (Order::Unmarked, _) => self.order = Order::Versions,
            (Order::Versions, _) => {}
        }
        let again = std::mem::take(&mut self.again);
        let step = self.version().and_then(|v| version::compare(version, v));
        match step {
            Some(Ordering::Less) => return Verdict::Backwards,
            Some(Ordering::Equal) if again && !is_bookmark => return Verdict::Withhold,
            _ => {}
        }
        self.any = true;
        self.reached(version);
        match is_bookmark && !self.bookmarks && !waited_for {
            true => Verdict::Withhold,
            false => Verdict::Pass,
        }
    }

    /// The client got something of which the hub does not know what it is.
    pub fn unread(&mut self) {
        self.any = true;
        self.upto.clear();
    }

    /// The client was told everything up to this version.
    pub fn everything(&mut self, version: &str) {
        self.any = true;
        self.order = Order::Versions;
        self.reached(version);
    }

    /// The watch goes on on another stream.
    pub fn goes_on(&mut self) {
        self.again = true;
    }

    /// What the client was told; `None`: no version says it.
    pub fn version(&self) -> Option<&str> {
        let known = self.order == Order::Versions && !self.upto.is_empty();
        known.then_some(self.upto.as_str())
    }

    /// True if the client takes bookmarks.
    pub fn takes_bookmarks(&self) -> bool {
        self.bookmarks
    }

    /// True if the client waits for the end of its initial events.
    pub fn waits_for_mark(&self) -> bool {
        self.order == Order::Marked
    }

    /// How the watch goes on when its stream broke here.
    pub fn go_on(&self) -> GoOn {
        match self.order {
            Order::Versions if !self.upto.is_empty() => GoOn::After,
            Order::Versions => GoOn::End,
            _ if !self.any => GoOn::Afresh,
            Order::Marked => GoOn::Fail,
            Order::Unmarked => GoOn::End,
        }
    }

    fn reached(&mut self, version: &str) {
        // In place: a watch has thousands of versions.
        self.upto.clear();
        self.upto.push_str(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Encoding;
    use crate::request::query;
    use crate::watch::event::parse;

    const LIST: &str = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true";

    /// `A5`: ADDED at 5; M, D, B alike; `E`: the bookmark that ends initial events; `X410`: an error.
    fn frame(word: &str) -> String {
        let (kind, version) = word.split_at(1);
        let (kind, more) = match kind {
            "A" => ("ADDED", ""),
            "M" => ("MODIFIED", ""),
            "D" => ("DELETED", ""),
            "B" => ("BOOKMARK", ""),
            "E" => (
                "BOOKMARK",
                r#","annotations":{"k8s.io/initial-events-end":"true"}"#,
            ),
            _ => {
                return format!(
                    r#"{{"type":"ERROR","object":{{"kind":"Status","apiVersion":"v1","code":{version}}}}}"#
                );
            }
        };
        format!(
            r#"{{"type":"{kind}","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"x","resourceVersion":"{version}"{more}}}}}}}"#
        )
    }

    fn verdict(told: &mut Told, word: &str) -> Verdict {
        let frame = frame(word);
        told.event(&parse(Encoding::Json, frame.as_bytes()).unwrap())
    }

    /// After these events: the last verdict, what the client was told, how it goes on.
    fn check(query: &str, words: &str, last: Verdict, version: Option<&str>, go_on: GoOn) {
        let mut told = Told::new(&query::parse(Some(query)));
        let mut got = Verdict::Pass;
        for word in words.split_whitespace() {
            match word {
                "again" => told.goes_on(),
                "unread" => told.unread(),
                word => got = verdict(&mut told, word),
            }
        }
        assert_eq!(
            (got, told.version(), told.go_on()),
            (last, version, go_on),
            "{query}: {words}"
        );
    }

    #[test]
    fn where_a_watch_is() {
        use GoOn::*;
        use Verdict::*;
        let from = "watch=1&resourceVersion=5";
        check(from, "", Pass, Some("5"), After);
        check(from, "A6 M8 D9", Pass, Some("9"), After);
        check(from, "A6 B8", Withhold, Some("8"), After);
        let marks = "watch=1&resourceVersion=5&allowWatchBookmarks=true";
        check(marks, "A6 B8", Pass, Some("8"), After);
        check(marks, "B8 again B8", Pass, Some("8"), After);
        check(marks, "A8 again M8", Withhold, Some("8"), After);
        check(marks, "A8 again M8 M8", Pass, Some("8"), After);
        check(marks, "A8 A7", Backwards, Some("8"), After);
        check(marks, "A8 B7", Backwards, Some("8"), After);
        check(marks, "A8 X410", Expired, Some("8"), After);
        check(marks, "A8 X500", Last, Some("8"), After);
        check(marks, "A8 unread", Pass, None, End);
        check(marks, "A8 unread M9", Pass, Some("9"), After);
        check(marks, "A8 M", Pass, None, End);
        // Versions that cannot be compared are in the order in which they come.
        check(marks, "Ax My", Pass, Some("y"), After);
    }

    #[test]
    fn where_a_watch_list_is() {
        use GoOn::*;
        use Verdict::*;
        check(LIST, "", Pass, None, Afresh);
        check(LIST, "A9 A3", Pass, None, Fail);
        check(LIST, "A9 A3 B4", Pass, None, Fail);
        check(LIST, "A9 A3 E9", Pass, Some("9"), After);
        check(LIST, "E9", Pass, Some("9"), After);
        check(LIST, "A9 A3 E9 M8", Backwards, Some("9"), After);
        check(LIST, "X410", Last, None, Afresh);
        let at = format!("{LIST}&resourceVersion=5");
        check(&at, "X410", Last, None, Afresh);
        // Who does not take bookmarks still waits for this one.
        check(
            "watch=1&sendInitialEvents=true",
            "A1 E9",
            Pass,
            Some("9"),
            After,
        );
    }

    #[test]
    fn where_a_watch_from_nothing_is() {
        use GoOn::*;
        use Verdict::*;
        for query in ["watch=1", "watch=1&resourceVersion=0"] {
            check(query, "", Pass, None, Afresh);
            check(query, "A9 A3", Pass, None, End);
            check(query, "A9 A3 B9", Withhold, Some("9"), After);
            check(query, "A9 A3 E9", Withhold, Some("9"), After);
            check(query, "A9 A3 E9 A10", Pass, Some("10"), After);
            let takes = format!("{query}&allowWatchBookmarks=true");
            check(&takes, "A9 A3 E9", Pass, Some("9"), After);
            check(query, "A9 A3 M10", Pass, Some("10"), After);
            check(query, "A9 A3 D10 A11", Pass, Some("11"), After);
        }
    }
}
