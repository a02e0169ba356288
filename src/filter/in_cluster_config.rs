//! `inclusterconfig`: kube-proxy, as kubeadm installs it, finds no kubeconfig in its configuration. Then it asks where its
//! environment says, and that is the hub.

use super::fields::{DATA, is_named, metadata};
use super::{Cannot, Verdict, told};
use crate::object::edit::{Edits, Node, Value};

/// The ConfigMap that is meant.
pub const CONFIG_MAP: &str = "kube-proxy";
const KEY: &str = "config.conf";

/// Comments the line `kubeconfig:` out.
pub fn judge(map: &Node<'_>) -> Result<Verdict, Cannot> {
    let is_meant = is_named(&metadata(map)?, "kube-system", CONFIG_MAP)?;
    let Some(entry) = (match is_meant {
        true => map.entry(DATA, KEY)?,
        false => None,
    }) else {
        return Ok(Verdict::Keep);
    };
    let now = entry.text()?;
    let lines: Vec<String> = now.split('\n').map(commented).collect();
    let mut edits = Edits::new(map)?;
    let then = lines.join("\n");
    if then != now {
        edits.set_entry(map, DATA, KEY, &entry, Value::Text(&then));
    }
    Ok(told(edits.finish()?))
}

fn commented(line: &str) -> String {
    let text = line.trim_start();
    match text.starts_with("kubeconfig:") {
        true => format!("{}#{text}", &line[..line.len() - text.len()]),
        false => line.to_owned(),
    }
}
