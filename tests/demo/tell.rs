//! Prints the story, and counts what did not go as told.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::client::From;

const ASKED_WIDTH: usize = 27;
const SAID_WIDTH: usize = 46;
/// Names of a list that are told.
const NAMES_MAX: usize = 4;

#[derive(Default)]
pub struct Teller {
    steps: u32,
    wrong: u32,
}

/// A line of the story.
pub struct Step<'a> {
    pub asked: &'a str,
    /// Only answers have one; events and the rest have none.
    pub status: Option<u16>,
    pub said: &'a str,
    pub from: Option<From>,
    pub took: Option<Duration>,
}

impl Teller {
    pub fn line(&self, text: &str) {
        // Whoever has closed the terminal has heard enough.
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(1);
        }
    }

    pub fn chapter(&self, title: &str) {
        self.line(&format!("\n{title}\n"));
    }

    pub fn head(&self) {
        let (asked, said) = (ASKED_WIDTH, SAID_WIDTH);
        self.line(&format!(
            "\n  {:asked$}  {:said$}{:11} {:>8}",
            "asked", "came", "from", "ms"
        ));
    }

    /// Prints a step. What is told longer than its column goes on below.
    pub fn step(&mut self, step: &Step<'_>) {
        self.steps += 1;
        let status = step
            .status
            .map(|status| format!("{status} "))
            .unwrap_or_default();
        let from = match step.from {
            Some(From::Cloud) => "cloud".to_string(),
            Some(From::Cache(age)) => format!("cache {age} s"),
            Some(From::Hub) => "hub".to_string(),
            None => String::new(),
        };
        let took = step.took.map(millis).unwrap_or_default();
        let asked = wrap(step.asked, ASKED_WIDTH);
        let said = wrap(&format!("{status}{}", step.said), SAID_WIDTH - 1);
        for at in 0..asked.len().max(said.len()) {
            let word = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
            let (asked, said) = (word(&asked), word(&said));
            let text = match at {
                0 => format!("  {asked:ASKED_WIDTH$}  {said:SAID_WIDTH$}{from:11} {took:>8}"),
                _ => format!("  {asked:ASKED_WIDTH$}  {said}"),
            };
            self.line(text.trim_end());
        }
    }

    /// What has to be so.
    pub fn must(&mut self, so: bool, what: &str) {
        if !so {
            self.wrong += 1;
            self.line(&format!("  ^ NOT AS TOLD: {what}"));
        }
    }

    pub fn all_as_told(&self) -> bool {
        self.wrong == 0
    }

    pub fn sum(&self, took: Duration) {
        let secs = took.as_secs_f64();
        let steps = self.steps;
        self.line(&match self.wrong {
            0 => format!("\n{steps} steps, all as told, in {secs:.1} s."),
            wrong => format!("\n{steps} steps in {secs:.1} s, {wrong} NOT AS TOLD."),
        });
    }
}

/// One short text for what an answer holds.
pub fn content(json: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_string);
    if let Some(items) = json["items"].as_array() {
        let mut names: Vec<&str> = items.iter().take(NAMES_MAX).map(name).collect();
        if items.len() > NAMES_MAX {
            names.push("...");
        }
        let version = json["metadata"]["resourceVersion"].as_str().unwrap_or("?");
        return format!("{} at version {version}: {}", items.len(), names.join(" "));
    }
    if json["kind"] == "Status" {
        return text(&json["message"]).unwrap_or_default();
    }
    if let Some(version) = text(&json["gitVersion"]) {
        return version;
    }
    object(json)
}

/// An object in a word or two.
pub fn object(json: &Value) -> String {
    match json["status"]["phase"].as_str() {
        Some(phase) => format!("{} {phase}", name(json)),
        None => name(json).to_string(),
    }
}

pub fn name(json: &Value) -> &str {
    json["metadata"]["name"].as_str().unwrap_or_default()
}

fn millis(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64() * 1000.0)
}

/// The words of `text` in lines of at most `width` letters; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    // What a server says is not to steer the terminal.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    lines
}
