//! What `cache export` makes of an object for eyes: the fields of protobuf, and YAML of JSON, in which another reader must
//! find what stands in the JSON. Whatever comes, it ends, and a terminal obeys none of it.
#![no_main]

use edge_hub::object::fields::write_fields;
use edge_hub::object::yaml::write_yaml;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// But for numbers, which each reader rounds in its own way.
fn of_yaml(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Boolean(is) => Value::from(*is),
        Yaml::Real(_) | Yaml::Integer(_) => Value::from(0),
        Yaml::Array(items) => items.iter().map(of_yaml).collect(),
        Yaml::Hash(map) => {
            let key = |key: &Yaml| key.as_str().expect("a key is a text").to_owned();
            let members = map.iter().map(|(k, v)| (key(k), of_yaml(v)));
            Value::Object(members.collect())
        }
        Yaml::Null => Value::Null,
        other => panic!("{other:?}"),
    }
}

fn of_json(json: Value) -> Value {
    match json {
        Value::Number(_) => Value::from(0),
        Value::Array(items) => items.into_iter().map(of_json).collect(),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, of_json(v))).collect()),
        other => other,
    }
}

fuzz_target!(|data: &[u8]| {
    let obeyed = |c: char| c.is_control() && c != '\n';
    let mut fields = String::new();
    write_fields(data, &mut fields);
    assert!(!fields.contains(obeyed));
    let mut yaml = String::new();
    if write_yaml(data, &mut yaml).is_err() {
        return;
    }
    assert!(!yaml.contains(obeyed), "{yaml:?}");
    let Ok(json) = serde_json::from_slice(data) else {
        return;
    };
    match YamlLoader::load_from_str(&yaml) {
        Ok(read) => {
            let read: Vec<Value> = read.iter().map(of_yaml).collect();
            assert_eq!(read, [of_json(json)], "{yaml}");
        }
        // JSON may have a key twice.
        Err(error) => assert!(error.to_string().contains("duplicated key"), "{error}: {yaml}"),
    }
});
