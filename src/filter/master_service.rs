//! `masterservice`: the Service `default/kubernetes` is at the hub. Of it the kubelet makes `KUBERNETES_SERVICE_HOST` and
//! `_PORT` of every container that it starts.

use super::fields::{
    PORT_NAME, PORT_NUMBER, SERVICE_CLUSTER_IP, SERVICE_CLUSTER_IPS, SERVICE_IP_FAMILIES,
    SERVICE_PORTS, is_named, metadata, spec,
};
use super::{Cannot, Facts, Verdict, told};
use crate::object::edit::{Edits, Node, Value};

/// Cluster IPs and the port `https`; the families follow the IPs where the hub has no address of theirs.
pub fn judge(facts: &Facts, service: &Node<'_>) -> Result<Verdict, Cannot> {
    let Some(hub) = facts.hub else {
        return Ok(Verdict::Keep);
    };
    if !is_named(&metadata(service)?, "default", "kubernetes")? {
        return Ok(Verdict::Keep);
    }
    let spec = spec(service)?;
    let mut edits = Edits::new(service)?;
    let first = hub.like(spec.text_of(SERVICE_CLUSTER_IP)?.contains(':'));
    let mut ips = vec![first];
    let now = spec.items(SERVICE_CLUSTER_IPS)?.len();
    if now > 1 {
        ips.extend(hub.of_family(!first.is_ipv6()));
    }
    let texts: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let texts: Vec<Value<'_>> = texts.iter().map(|text| Value::Text(text)).collect();
    edits.set(&spec, SERVICE_CLUSTER_IP, texts[0])?;
    // API servers before 1.20 do not know it.
    if now > 0 {
        edits.set(&spec, SERVICE_CLUSTER_IPS, Value::List(&texts))?;
    }
    if !spec.items(SERVICE_IP_FAMILIES)?.is_empty() {
        let family = |v6| Value::Text(if v6 { "IPv6" } else { "IPv4" });
        let families: Vec<Value<'_>> = ips.iter().map(|ip| family(ip.is_ipv6())).collect();
        edits.set(&spec, SERVICE_IP_FAMILIES, Value::List(&families))?;
    }
    for port in spec.items(SERVICE_PORTS)? {
        if port.has(PORT_NAME, "https")? {
            edits.set(&port, PORT_NUMBER, Value::Number(u32::from(hub.port)))?;
        }
    }
    Ok(told(edits.finish()?))
}
