//! Whether what was told is what was.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{History, Object};
use crate::readers::{Body, List, Told};

/// What was found, over all rounds.
#[derive(Default)]
pub struct Verdict {
    /// By reader, the version that was told after the last start: it is on flash.
    durable: BTreeMap<&'static str, u64>,
    pub starts_killed: usize,
    begun_anew: usize,
    lists: usize,
    objects: usize,
    gets: usize,
    absent: usize,
    /// Collections that were told, and those that were moved on since the round before.
    served: usize,
    moved: usize,
    /// Those of which nothing had been written by then.
    lost: usize,
}

impl Verdict {
    /// What was on flash is gone.
    pub fn begin_anew(&mut self) {
        self.durable.clear();
        self.begun_anew += 1;
    }

    pub fn judge(&mut self, round: usize, histories: &[History], all: Vec<Told>) {
        for told in all {
            let agent = told.reader.agent;
            let kind = told.reader.kind;
            let history = histories
                .iter()
                .find(|h| h.kind() == kind)
                .expect("a history");
            if told.reader.is_of_lists() {
                let version =
                    self.judge_lists(&format!("round {round}, {agent}"), history, &told.lists);
                self.note(round, agent, version);
                let there = version.map(|version| history.at(version));
                for (name, status, body) in told.gets {
                    let what = format!("round {round}, {agent}: {name}");
                    match (&there, status) {
                        (_, 503) => assert!(there.is_none(), "{what} is in a list that is kept"),
                        (None, _) => panic!("{what}: {status} out of nothing"),
                        (Some(there), _) => self.judge_one(&what, there.get(&name), body.as_ref()),
                    }
                }
            } else {
                for (name, status, body) in told
                    .gets
                    .into_iter()
                    .filter(|(_, status, _)| *status != 503)
                {
                    let what = format!("round {round}, {agent}: {name}");
                    let had = body
                        .as_ref()
                        .map(|body| history.object(&name, body.version()));
                    match (status, had) {
                        (404, _) => assert!(history.was_absent(&name), "{what} was always there"),
                        (_, had) => {
                            let had = had.flatten();
                            assert!(had.is_some(), "{what} never was {body:?}");
                            self.judge_one(&what, had.as_ref(), body.as_ref());
                        }
                    }
                }
            }
        }
    }

    fn judge_lists(&mut self, what: &str, history: &History, lists: &[List]) -> Option<u64> {
        let first = lists.first()?;
        assert_eq!(lists.len(), 3, "{what}: kept for some and not for others");
        for list in lists {
            let what = format!("{what}, {} at {}", list.how, list.version);
            assert_eq!(list.version, first.version, "{what}");
            let there = history.at(list.version);
            let mut names: Vec<&String> = list.items.iter().map(|(name, _)| name).collect();
            names.sort();
            assert_eq!(names, there.keys().collect::<Vec<_>>(), "{what}");
            for (name, body) in &list.items {
                check(&format!("{what}: {name}"), there.get(name), Some(body));
            }
            self.lists += 1;
            self.objects += list.items.len();
        }
        Some(first.version)
    }

    fn judge_one(&mut self, what: &str, there: Option<&Object>, body: Option<&Body>) {
        check(what, there, body);
        match body {
            Some(_) => self.gets += 1,
            None => self.absent += 1,
        }
    }

    /// What was on flash once is there at every later start, and no older.
    fn note(&mut self, round: usize, agent: &'static str, version: Option<u64>) {
        let before = self.durable.get(agent).copied();
        match (before, version) {
            (None, None) => self.lost += 1,
            (Some(before), None) => {
                panic!("round {round}, {agent}: {before} was on flash and is lost")
            }
            (before, Some(now)) => {
                let before = before.unwrap_or(0);
                assert!(
                    now >= before,
                    "round {round}, {agent}: {before} was on flash, and now {now} is"
                );
                self.served += 1;
                self.moved += usize::from(now > before);
                self.durable.insert(agent, now);
            }
        }
    }

    /// Enough must have been kept for all this to mean something.
    pub fn finish(&self, rounds: usize) {
        // Nothing is lost that was there once; what is not there yet is that way for a round or two.
        assert!(self.served > 4 * self.lost, "too much was lost: {self}");
        assert!(self.moved > rounds, "too little was kept: {self}");
        assert!(self.gets > 0 && self.absent > 0, "{self}");
    }
}

fn check(what: &str, there: Option<&Object>, body: Option<&Body>) {
    match (there, body) {
        (Some(there), Some(Body::Json(object))) => assert_eq!(object, there, "{what}"),
        (Some(there), Some(Body::Protobuf { version, bytes })) => {
            assert_eq!(*version, there.version, "{what}");
            let mark = there.mark.as_bytes();
            assert!(
                mark.is_empty() || bytes.windows(mark.len()).any(|window| window == mark),
                "{what} has not the bytes of {}",
                there.mark
            );
        }
        (None, None) => {}
        (there, body) => panic!("{what}: {body:?} was told, {there:?} was there"),
    }
}

impl Body {
    fn version(&self) -> u64 {
        match self {
            Body::Json(object) => object.version,
            Body::Protobuf { version, .. } => *version,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lists with {} objects and {} objects by name were what was, {} absent were absent; \
             {} collections told, {} of them moved on, {} not written yet; \
             {} starts killed, {} begun anew",
            self.lists,
            self.objects,
            self.gets,
            self.absent,
            self.served,
            self.moved,
            self.lost,
            self.starts_killed,
            self.begun_anew,
        )
    }
}
