//! The few fields of a Service that the hub reads.

use super::proto::Fields;
use super::{Encoding, Malformed};
use std::net::IpAddr;

/// Field numbers of `Service.spec`, `ServiceSpec.clusterIP` and `clusterIPs` (kubernetes-api.md 2.4).
const SPEC: u32 = 2;
const CLUSTER_IP: u32 = 3;
const CLUSTER_IPS: u32 = 18;

/// The cluster IPs of a bare Service; empty if it has none, or cannot be read.
pub fn cluster_ips(encoding: Encoding, service: &[u8]) -> Vec<IpAddr> {
    let texts = match encoding {
        Encoding::Json => json(service),
        Encoding::Protobuf => protobuf(service).unwrap_or_default(),
    };
    let mut ips: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn json(service: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Service {
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        #[serde(default, rename = "clusterIP")]
        cluster_ip: String,
        #[serde(default, rename = "clusterIPs")]
        cluster_ips: Vec<String>,
    }
    let Ok(service) = serde_json::from_slice::<Service>(service) else {
        return Vec::new();
    };
    let mut texts = service.spec.cluster_ips;
    texts.push(service.spec.cluster_ip);
    texts
}

fn protobuf(service: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut texts = Vec::new();
    let mut fields = Fields(service);
    while let Some((field, value)) = fields.next()? {
        if field != SPEC {
            continue;
        }
        let mut spec = Fields(value.bytes()?);
        while let Some((field, value)) = spec.next()? {
            if matches!(field, CLUSTER_IP | CLUSTER_IPS) {
                texts.push(value.text()?.into_owned());
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings() {
        let want: Vec<IpAddr> = vec!["10.96.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let json = br#"{"metadata":{"name":"kubernetes"},"spec":{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"]}}"#;
        assert_eq!(cluster_ips(Encoding::Json, json), want);
        let mut spec = vec![0x1a, 9];
        spec.extend_from_slice(b"10.96.0.1");
        spec.extend_from_slice(&[0x92, 0x01, 7]);
        spec.extend_from_slice(b"fd00::1");
        let mut service = vec![0x0a, 0, 0x12, spec.len() as u8];
        service.extend_from_slice(&spec);
        assert_eq!(cluster_ips(Encoding::Protobuf, &service), want);
        for bad in [&b""[..], b"{", b"{\"spec\":{\"clusterIP\":\"None\"}}"] {
            assert!(cluster_ips(Encoding::Json, bad).is_empty());
            assert!(cluster_ips(Encoding::Protobuf, bad).is_empty());
        }
    }
}
