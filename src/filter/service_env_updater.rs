//! `serviceenvupdater`: a pod that names the API server in its own `env` names the hub instead. The kubelet's own
//! variables, which [`super::master_service`] changes, do not win over those.

use super::fields::{
    CONTAINER_ENV, CONTAINERS, ENV_FROM, ENV_NAME, ENV_VALUE, EPHEMERAL_COMMON,
    EPHEMERAL_CONTAINERS, INIT_CONTAINERS, spec,
};
use super::{Cannot, Facts, Verdict, told};
use crate::object::edit::{Edits, Node, Value};
use crate::object::{Encoding, Malformed};

/// Changes values that are there, of containers of every kind, and adds none.
pub fn judge(facts: &Facts, pod: &Node<'_>) -> Result<Verdict, Cannot> {
    let Some(hub) = facts.hub else {
        return Ok(Verdict::Keep);
    };
    let (host, port) = (hub.first.to_string(), hub.port.to_string());
    let spec = spec(pod)?;
    let mut edits = Edits::new(pod)?;
    for containers in [INIT_CONTAINERS, CONTAINERS, EPHEMERAL_CONTAINERS] {
        for container in spec.items(containers)? {
            let common = match (containers == EPHEMERAL_CONTAINERS, pod.encoding()) {
                (true, Encoding::Protobuf) => container.get(EPHEMERAL_COMMON)?,
                _ => Some(container),
            };
            for variable in common.map_or(Ok(Vec::new()), |c| c.items(CONTAINER_ENV))? {
                let value = match &*variable.text_of(ENV_NAME)? {
                    "KUBERNETES_SERVICE_HOST" => &host,
                    "KUBERNETES_SERVICE_PORT" | "KUBERNETES_SERVICE_PORT_HTTPS" => &port,
                    _ => continue,
                };
                set(&mut edits, &variable, value)?;
            }
        }
    }
    Ok(told(edits.finish()?))
}

/// A variable with a value has no source to take it from.
fn set(edits: &mut Edits<'_>, variable: &Node<'_>, value: &str) -> Result<(), Malformed> {
    let value = Value::Text(value);
    match (variable.get(ENV_VALUE)?, variable.get(ENV_FROM)?) {
        (None, Some(from)) => {
            edits.replace(variable, &from, ENV_VALUE, value);
            Ok(())
        }
        _ => edits.set(variable, ENV_VALUE, value),
    }
}
