//! The numbers, beside their budgets in `budgets.json`.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// `budgets.json`: every number, in the order in which they are printed.
#[derive(Serialize, Deserialize)]
pub struct Budgets {
    /// When, and on what, `measured` was found.
    pub measured_when: String,
    pub measured_on: String,
    pub numbers: Vec<Number>,
}

#[derive(Serialize, Deserialize)]
pub struct Number {
    pub name: String,
    pub unit: String,
    /// What was found when the file was last written.
    pub measured: Option<f64>,
    /// The most that it may be. Without: for comparison only.
    pub budget: Option<f64>,
    /// What it should be, where the budget is more for now; `note` says what is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    /// Whether more than the budget fails the run.
    pub guards: bool,
    pub note: String,
}

/// What this run has found.
pub struct Table {
    budgets: Budgets,
    over: Vec<String>,
    found: usize,
    missed: usize,
}

impl Table {
    pub fn read(file: &Path) -> Table {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let budgets =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        println!(
            "{:<36} {:>12}  {:<6} {:>12}",
            "name", "value", "unit", "budget"
        );
        Table {
            budgets,
            over: Vec::new(),
            found: 0,
            missed: 0,
        }
    }

    /// Prints a number beside its budget.
    pub fn add(&mut self, name: &str, value: f64) {
        let number = self.budgets.numbers.iter_mut().find(|n| n.name == name);
        let number = number.unwrap_or_else(|| panic!("budgets.json has no {name}"));
        // Three digits say enough of anything but a count.
        let shown = if value.abs() < 100.0 {
            format!("{value:.2}")
        } else {
            format!("{value:.0}")
        };
        let budget = number.budget.map_or(String::new(), |b| b.to_string());
        let verdict = match number.budget {
            Some(budget) if value > budget && number.guards => "OVER",
            Some(budget) if value > budget => "over, does not guard",
            Some(_) => "ok",
            None => "",
        };
        let goal = number.goal.filter(|goal| value > *goal);
        let missed = goal.map_or(String::new(), |goal| {
            format!(" for now; MISSES ITS GOAL {goal}")
        });
        self.missed += usize::from(goal.is_some());
        println!(
            "{name:<36} {shown:>12}  {:<6} {budget:>12}  {verdict}{missed}",
            number.unit
        );
        if verdict == "OVER" {
            self.over.push(format!(
                "{name}: {shown} {} is over {budget}. {}",
                number.unit, number.note
            ));
        }
        number.measured = Some((value * 100.0).round() / 100.0);
        self.found += 1;
    }

    /// What other programs have found: a name and a number in each line of the file.
    pub fn add_all(&mut self, file: &Path) {
        let text = std::fs::read_to_string(file).expect("what was found");
        for line in text.lines() {
            let number = line.split_once(' ');
            match number.and_then(|(name, value)| Some((name, value.parse().ok()?))) {
                Some((name, value)) => self.add(name, value),
                None => self.fail("tests/bench/run", line),
            }
        }
    }

    /// A number that could not be found: the run fails, for a check that is left out looks like one that passed.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name:<36} {:>12}  {why}", "FAILED");
        self.over.push(format!("{name}: {why}"));
    }

    /// Writes what was found into the file.
    pub fn record(&mut self, file: &Path, when: String, on: String) {
        (self.budgets.measured_when, self.budgets.measured_on) = (when, on);
        let text = serde_json::to_string_pretty(&self.budgets).expect("JSON");
        std::fs::write(file, text + "\n").expect("budgets.json");
    }

    /// Whether every guarded number is within its budget.
    pub fn passed(&self) -> bool {
        self.over.iter().for_each(|line| println!("OVER {line}"));
        println!(
            "{} numbers, {} over, {} miss their goal",
            self.found,
            self.over.len(),
            self.missed
        );
        self.over.is_empty()
    }
}
