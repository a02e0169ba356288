//! What ConfigMaps of the cluster add to the configuration, key by key. Pure: texts in, rules out. A key with a value that
//! cannot be taken keeps the one that it had.

use super::{AgentRule, FilterRule};
use crate::filter::Filter;
use crate::filter::fields::DATA;
use crate::limits::{CONFIG_LIST_MAX, LIVE_VALUE_BYTES_MAX, LIVE_WRONG_MAX};
use crate::object::edit::Node;
use crate::object::{Encoding, Malformed};
use std::collections::BTreeMap;

/// A ConfigMap that is gone by. In the order in which they count: what the hub's own says comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// YurtHub's. It may have keys that the hub does not know.
    YurtHub,
    /// The hub's own.
    EdgeHub,
}

/// Whose answers are kept. All other keys are names of filters.
const CACHE_AGENTS: &str = "cache_agents";

impl Source {
    /// Both.
    pub const ALL: [Source; 2] = [Source::YurtHub, Source::EdgeHub];
    /// Where they are.
    pub const NAMESPACE: &str = "kube-system";

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Source::YurtHub => "yurt-hub-cfg",
            Source::EdgeHub => "edge-hub-cfg",
        }
    }

    fn named(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The last good value of each key, and where it stands.
    in_force: BTreeMap<(Source, String), Value>,
    /// The keys that are not taken, and why.
    wrong: BTreeMap<(Source, String), String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    rules: Rules,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rules {
    Agents(Vec<AgentRule>),
    Filters(Vec<FilterRule>),
}

impl Live {
    /// Takes over what a ConfigMap says now, a bare object in JSON; `None`: it is not there. True if other rules are in
    /// force, or other values wrong, than before.
    pub fn take(&mut self, source: Source, config_map: Option<&[u8]>) -> Result<bool, Malformed> {
        let before = self.clone();
        let said = config_map.map_or(Ok(BTreeMap::new()), data)?;
        self.in_force
            .retain(|(of, key), _| *of != source || said.contains_key(key));
        self.wrong.retain(|(of, _), _| *of != source);
        for (key, text) in said {
            if let Err(why) = self.take_value(source, &key, text)
                && self.wrong.len() < LIVE_WRONG_MAX
            {
                self.wrong.insert((source, key), why);
            }
        }
        Ok(*self != before)
    }

    fn take_value(&mut self, source: Source, key: &str, text: String) -> Result<(), String> {
        let rules = match (key, Filter::named(key)) {
            (CACHE_AGENTS, _) => each(&text, AgentRule::parse).map(Rules::Agents),
            (_, Some(filter)) => {
                let rule = |entry: &str| FilterRule::of(filter, entry);
                each(&text, rule).map(Rules::Filters)
            }
            (_, None) if source == Source::YurtHub => return Ok(()),
            (_, None) => {
                return Err(
                    "no such key; there are `cache_agents` and the names of filters".into(),
                );
            }
        };
        let value = Value {
            text,
            rules: rules?,
        };
        self.in_force.insert((source, key.to_owned()), value);
        Ok(())
    }

    /// The rules of whose answers are kept.
    pub fn agents(&self) -> impl Iterator<Item = &AgentRule> {
        self.in_force.values().flat_map(|value| match &value.rules {
            Rules::Agents(rules) => rules.as_slice(),
            Rules::Filters(_) => &[],
        })
    }

    /// The rules of which filters are for whom.
    pub fn filters(&self) -> impl Iterator<Item = &FilterRule> {
        self.in_force.values().flat_map(|value| match &value.rules {
            Rules::Agents(_) => &[],
            Rules::Filters(rules) => rules.as_slice(),
        })
    }

    /// A sentence for each value that is not taken.
    pub fn wrong(&self) -> Vec<String> {
        let sentence = |((source, key), why): (&(Source, String), &String)| {
            let place = format!("{}/{}", Source::NAMESPACE, source.name());
            let stays = match self.in_force.contains_key(&(*source, key.clone())) {
                true => "; the value before stays in force",
                false => "",
            };
            format!("ConfigMap {place}: {key:?}: {why}{stays}")
        };
        self.wrong.iter().map(sentence).collect()
    }

    /// What is in force, as it is kept: names and texts.
    pub fn items(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.in_force.iter().map(|((source, key), value)| {
            let name = format!("{}/{key}", source.name());
            (name, value.text.clone().into_bytes())
        })
    }

    /// Takes one that was kept. What is not understood is no longer in force.
    pub fn restore(&mut self, name: &str, text: &[u8]) {
        let Some((source, key)) = name.split_once('/') else {
            return;
        };
        if let (Some(source), Ok(text)) = (Source::named(source), std::str::from_utf8(text)) {
            let _ = self.take_value(source, key, text.to_owned());
        }
    }
}

fn data(config_map: &[u8]) -> Result<BTreeMap<String, String>, Malformed> {
    let mut said = BTreeMap::new();
    for (key, value) in Node::object(Encoding::Json, config_map).entries(DATA)? {
        said.insert(key.into_owned(), value.text()?.into_owned());
    }
    Ok(said)
}

/// The entries of a list with commas between. What is empty is nothing, as YurtHub has it.
fn each<T>(text: &str, parse: impl Fn(&str) -> Result<T, &'static str>) -> Result<Vec<T>, String> {
    if text.len() > LIVE_VALUE_BYTES_MAX {
        return Err(format!("longer than {LIVE_VALUE_BYTES_MAX} bytes"));
    }
    let mut all = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        if all.len() == CONFIG_LIST_MAX {
            return Err(format!("more than {CONFIG_LIST_MAX} entries"));
        }
        all.push(parse(entry).map_err(|why| {
            let shown: String = entry.chars().take(64).collect();
            format!("{shown:?}: {why}")
        })?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &str) -> Vec<u8> {
        format!(r#"{{"metadata":{{"name":"x"}},"data":{data}}}"#).into_bytes()
    }

    fn shown(live: &Live) -> String {
        let agents: Vec<String> = live.agents().map(|rule| format!("{rule:?}")).collect();
        let filters: Vec<String> = live.filters().map(|rule| format!("{rule:?}")).collect();
        format!("{} | {}", agents.join(" "), filters.join(" "))
    }

    #[test]
    fn what_config_maps_say() {
        for (data, want, wrong) in [
            ("null", " | ", 0),
            ("{}", " | ", 0),
            (r#"{"cache_agents":""}"#, " | ", 0),
            (
                r#"{"cache_agents":" a, B ,,*,-c"}"#,
                r#"Keep("a") Keep("b") All Not("c") | "#,
                0,
            ),
            (
                r#"{"masterservice":"a,-b"}"#,
                r#" | Add(MasterService, "a") Not(MasterService, "b")"#,
                0,
            ),
            (r#"{"hubca":"-*"}"#, " | Off(HubCa)", 0),
            (r#"{"hubca":"*"}"#, " | ", 1),
            (
                r#"{"cache_agents":"a/b","hubca":"c"}"#,
                r#" | Add(HubCa, "c")"#,
                1,
            ),
            (r#"{"cache_agent":"a"}"#, " | ", 1),
        ] {
            let mut live = Live::default();
            let is_new = live.take(Source::EdgeHub, Some(&map(data))).expect(data);
            assert_eq!(shown(&live), want, "{data}");
            assert_eq!(live.wrong().len(), wrong, "{data}");
            assert_eq!(is_new, live != Live::default(), "{data}");
            assert_eq!(
                live.take(Source::EdgeHub, Some(&map(data))),
                Ok(false),
                "{data}"
            );
            let mut again = Live::default();
            live.items()
                .for_each(|(name, text)| again.restore(&name, &text));
            assert_eq!(shown(&again), want, "{data}");
            assert_eq!(live.take(Source::EdgeHub, None), Ok(is_new), "{data}");
            assert_eq!(live, Live::default(), "{data}");
        }
        // YurtHub's may have what is YurtHub's.
        let mut live = Live::default();
        let other = map(r#"{"pool-scope":"x"}"#);
        assert_eq!(live.take(Source::YurtHub, Some(&other)), Ok(false));
        assert!(live.take(Source::YurtHub, Some(b"{\"data\":[]}")).is_err());
        assert!(
            live.take(Source::YurtHub, Some(b"{\"data\":{\"a\":1}}"))
                .is_err()
        );
    }

    #[test]
    fn a_wrong_value_leaves_the_one_before() {
        let mut live = Live::default();
        let mut take =
            |source, data: &str| live.take(source, Some(&map(data))).map(|_| shown(&live));
        let first = take(Source::YurtHub, r#"{"cache_agents":"a","hubca":"x"}"#);
        assert_eq!(first.as_deref(), Ok(r#"Keep("a") | Add(HubCa, "x")"#));
        let second = take(Source::YurtHub, r#"{"cache_agents":"b/","hubca":"y"}"#);
        assert_eq!(second.as_deref(), Ok(r#"Keep("a") | Add(HubCa, "y")"#));
        let third = take(Source::EdgeHub, r#"{"cache_agents":"c","hubca":"-y"}"#);
        let both = r#"Keep("a") Keep("c") | Add(HubCa, "y") Not(HubCa, "y")"#;
        assert_eq!(third.as_deref(), Ok(both));
        let wrong = live.wrong();
        assert_eq!(wrong.len(), 1);
        let says = |part: &str| wrong.iter().all(|line| line.contains(part));
        assert!(says("kube-system/yurt-hub-cfg") && says("cache_agents") && says("b/"));
        assert!(says("the value before stays"), "{wrong:?}");
        // A key that is gone is no longer in force.
        live.take(Source::YurtHub, Some(&map("{}"))).expect("JSON");
        assert_eq!(shown(&live), r#"Keep("c") | Not(HubCa, "y")"#);
        assert!(live.wrong().is_empty());
    }

    #[test]
    fn bounds() {
        let mut live = Live::default();
        let names = |n: usize| vec!["a"; n].join(",");
        for (text, is_wrong) in [
            (names(CONFIG_LIST_MAX), false),
            (names(CONFIG_LIST_MAX + 1), true),
            (" ".repeat(LIVE_VALUE_BYTES_MAX), false),
            (" ".repeat(LIVE_VALUE_BYTES_MAX + 1), true),
        ] {
            let data = format!(r#"{{"cache_agents":"{text}"}}"#);
            live.take(Source::EdgeHub, Some(&map(&data))).expect("JSON");
            assert_eq!(!live.wrong().is_empty(), is_wrong, "{}", text.len());
        }
        let keys: Vec<String> = (0..99).map(|n| format!(r#""k{n}":"""#)).collect();
        let data = format!("{{{}}}", keys.join(","));
        live.take(Source::EdgeHub, Some(&map(&data))).expect("JSON");
        assert_eq!(live.wrong().len(), LIVE_WRONG_MAX);
    }
}
