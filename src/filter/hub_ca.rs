//! `hubca`: pods trust the hub's own CA beside that of the cluster, in every `kube-root-ca.crt` and in the Secrets of
//! service account tokens. So 169.254.2.1 is trusted on any distribution, and on this node alone.

use super::fields::{DATA, NAME, SECRET_TYPE, metadata};
use super::{Cannot, Facts, Kind, Verdict, told};
use crate::object::edit::{Edits, Node, Value};

/// The ConfigMap that is meant.
pub const CONFIG_MAP: &str = "kube-root-ca.crt";
/// Under this key lies what a pod trusts.
const CA: &str = "ca.crt";

/// Appends the hub's CA to those that are there.
pub fn judge(facts: &Facts, kind: Kind, object: &Node<'_>) -> Result<Verdict, Cannot> {
    let Some(hub_ca) = &facts.hub_ca else {
        return Ok(Verdict::Keep);
    };
    let is_meant = match kind {
        Kind::Secret => object.has(SECRET_TYPE, "kubernetes.io/service-account-token")?,
        _ => metadata(object)?.has(NAME, CONFIG_MAP)?,
    };
    let Some(entry) = (match is_meant {
        true => object.entry(DATA, CA)?,
        false => None,
    }) else {
        return Ok(Verdict::Keep);
    };
    let now = match kind {
        Kind::Secret => entry.blob()?.into_owned(),
        _ => entry.text()?.into_owned().into_bytes(),
    };
    let hub_ca = hub_ca.as_bytes();
    if now.windows(hub_ca.len()).any(|part| part == hub_ca) {
        return Ok(Verdict::Keep);
    }
    let mut all = now;
    if all.last().is_some_and(|last| *last != b'\n') {
        all.push(b'\n');
    }
    all.extend_from_slice(hub_ca);
    let value = match std::str::from_utf8(&all) {
        Ok(text) if kind != Kind::Secret => Value::Text(text),
        _ => Value::Bytes(&all),
    };
    let mut edits = Edits::new(object)?;
    edits.set_entry(object, DATA, CA, &entry, value);
    Ok(told(edits.finish()?))
}
