//! Where in the text each key and value of a JSON document stands. serde tells the place of a syntax error only; a value
//! that is well-formed and yet wrong deserves one too. Reads only text that serde has accepted.

use std::collections::HashSet;

/// One step from a value to one within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Into an object, by key.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

struct Place {
    parent: usize,
    step: Step,
    /// Bytes from the start of the text: of the key in an object, of the value in a list.
    at: usize,
}

/// All places of a text, parents before children; the first is the whole document.
pub(super) struct Places {
    places: Vec<Place>,
}

impl Places {
    /// One pass over the text. What cannot be understood ends the scan early; places are then missing, not wrong.
    pub(super) fn scan(text: &str) -> Places {
        let mut scan = Scan {
            bytes: text.as_bytes(),
            at: 0,
            places: vec![Place {
                parent: 0,
                step: Step::Index(0),
                at: 0,
            }],
        };
        // The list grows only by what the text holds, and the text is bounded.
        let _ = scan.value(0, 0);
        Places {
            places: scan.places,
        }
    }

    /// Where the value at the end of the steps stands, or the nearest around it.
    pub(super) fn find(&self, steps: &[Step]) -> Option<usize> {
        let mut here = 0;
        for step in steps {
            let child = self
                .places
                .iter()
                .enumerate()
                .skip(1)
                .find(|(_, p)| p.parent == here && p.step == *step);
            match child {
                Some((index, _)) => here = index,
                None => break,
            }
        }
        (here != 0).then(|| self.places[here].at)
    }

    /// Every key that stands in its object for the second time: its steps, and where.
    pub(super) fn duplicates(&self) -> Vec<(Vec<Step>, usize)> {
        let mut seen = HashSet::new();
        let again = self
            .places
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, p)| !seen.insert((p.parent, &p.step)));
        again.map(|(index, p)| (self.steps(index), p.at)).collect()
    }

    fn steps(&self, mut index: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while index != 0 {
            let Some(place) = self.places.get(index) else {
                break;
            };
            steps.push(place.step.clone());
            index = place.parent;
        }
        steps.reverse();
        steps
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    places: Vec<Place>,
}

/// As deep as serde_json goes.
const DEPTH_MAX: usize = 128;

impl Scan<'_> {
    fn value(&mut self, parent: usize, depth: usize) -> Option<()> {
        self.blank();
        match self.bytes.get(self.at)? {
            _ if depth > DEPTH_MAX => None,
            b'{' => self.object(parent, depth),
            b'[' => self.list(parent, depth),
            b'"' => self.string().map(drop),
            _ => {
                let word = self.bytes[self.at..]
                    .iter()
                    .take_while(|b| !b",]} \t\r\n".contains(b))
                    .count();
                self.at += word;
                (word > 0).then_some(())
            }
        }
    }

    fn object(&mut self, parent: usize, depth: usize) -> Option<()> {
        self.at += 1;
        loop {
            self.blank();
            if self.eat(b'}') {
                return Some(());
            }
            let at = self.at;
            let key = self.string()?;
            self.places.push(Place {
                parent,
                step: Step::Key(key),
                at,
            });
            let here = self.places.len() - 1;
            self.blank();
            if !self.eat(b':') {
                return None;
            }
            self.value(here, depth + 1)?;
            self.blank();
            self.eat(b',');
        }
    }

    fn list(&mut self, parent: usize, depth: usize) -> Option<()> {
        self.at += 1;
        for index in 0.. {
            self.blank();
            if self.eat(b']') {
                break;
            }
            self.places.push(Place {
                parent,
                step: Step::Index(index),
                at: self.at,
            });
            let here = self.places.len() - 1;
            self.value(here, depth + 1)?;
            self.blank();
            self.eat(b',');
        }
        Some(())
    }

    /// The string that begins here, unescaped.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        if !self.eat(b'"') {
            return None;
        }
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_slice(self.bytes.get(start..self.at)?).ok()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn blank(&mut self) {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|b| b" \t\r\n".contains(b))
        {
            self.at += 1;
        }
    }
}

/// Line and column of a byte, both from 1; the column counts bytes, as serde_json does.
pub(super) fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}

/// Reads a key's path as messages write it: `identities[1].cert`.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        steps.extend(
            pieces
                .next()
                .filter(|key| !key.is_empty())
                .map(|key| Step::Key(key.to_owned())),
        );
        steps.extend(
            pieces
                .filter_map(|piece| piece.trim_end_matches(']').parse().ok())
                .map(Step::Index),
        );
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_keys_and_entries() {
        let text = "{\n  \"a\": [1, \"x]\\\"\", {\"b\": null}],\n  \"c\\u0064\": {}\n}";
        let places = Places::scan(text);
        for (path, want) in [
            ("a", Some((2, 3))),
            ("a[0]", Some((2, 9))),
            ("a[1]", Some((2, 12))),
            ("a[2].b", Some((2, 21))),
            ("a[7]", Some((2, 3))),
            ("cd", Some((3, 3))),
            ("z", None),
            ("", None),
        ] {
            assert_eq!(
                places.find(&steps(path)).map(|at| line_column(text, at)),
                want,
                "{path}"
            );
        }
    }

    #[test]
    fn second_keys_are_found_at_any_depth() {
        let count = |text: &str| Places::scan(text).duplicates().len();
        for (text, want) in [
            ("{}", 0),
            (r#"{"a":1,"b":1}"#, 0),
            (r#"{"a":1,"a":1}"#, 1),
            (r#"{"a":1,"\u0061":1}"#, 1),
            (r#"{"l":[{"a":1},{"a":1}]}"#, 0),
            (r#"{"l":[{"a":1,"a":2,"a":3}]}"#, 2),
        ] {
            assert_eq!(count(text), want, "{text}");
        }
    }

    #[test]
    fn no_text_stops_or_breaks_it() {
        let text = r#"{"a":[1,{"b":"\\\""}],"c":nul"#;
        for end in 0..=text.len() {
            Places::scan(&text[..end]);
        }
        Places::scan(&"[".repeat(100_000));
        for odd in ["{,}", "[,]", "{\"a\" 1}", "\"\\", "]", "[}", "[1}"] {
            Places::scan(odd);
        }
    }
}
