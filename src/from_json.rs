//! Structs that are filled from JSON, member by member. Derived deserializers did the same with ten times the code: one
//! for each struct, list and option, of 3 to 7 KB each on a program of 1.5 MB. What is read here was checked before
//! (the configuration), or comes from a hub of another version and is taken as far as it goes (its status): a member
//! that is missing, or is of another type, leaves what was there.

use serde_json::Value;

/// What a JSON value can be put into.
pub trait FromJson {
    /// Takes from `json` what fits.
    fn read(&mut self, json: &Value);
}

/// Reads a text that holds one JSON object; `None`: it does not.
pub fn object<T: FromJson + Default>(text: &str) -> Option<T> {
    let json: Value = serde_json::from_str(text).ok()?;
    let mut read = T::default();
    json.is_object().then(|| read.read(&json))?;
    Some(read)
}

/// One member of an object.
pub fn member(json: &Value, name: &str, into: &mut impl FromJson) {
    if let Some(value) = json.get(name) {
        into.read(value);
    }
}

/// Defines a struct as it stands, and how it is read: each field from the member of its name.
macro_rules! read_from_json {
    ($(#[$attribute:meta])* $visible:vis struct $name:ident {
        $($(#[$of_field:meta])* $public:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        $visible struct $name {
            $($(#[$of_field])* $public $field: $type,)*
        }

        impl $crate::from_json::FromJson for $name {
            fn read(&mut self, json: &serde_json::Value) {
                $($crate::from_json::member(json, stringify!($field), &mut self.$field);)*
            }
        }
    };
}
pub(crate) use read_from_json;

impl FromJson for String {
    fn read(&mut self, json: &Value) {
        if let Some(text) = json.as_str() {
            text.clone_into(self);
        }
    }
}

impl FromJson for bool {
    fn read(&mut self, json: &Value) {
        *self = json.as_bool().unwrap_or(*self);
    }
}

impl FromJson for u64 {
    fn read(&mut self, json: &Value) {
        *self = json.as_u64().unwrap_or(*self);
    }
}

impl FromJson for i64 {
    fn read(&mut self, json: &Value) {
        *self = json.as_i64().unwrap_or(*self);
    }
}

impl FromJson for u32 {
    fn read(&mut self, json: &Value) {
        let number = json.as_u64().and_then(|n| n.try_into().ok());
        *self = number.unwrap_or(*self);
    }
}

impl FromJson for u16 {
    fn read(&mut self, json: &Value) {
        let number = json.as_u64().and_then(|n| n.try_into().ok());
        *self = number.unwrap_or(*self);
    }
}

/// `null` is none.
impl<T: FromJson + Default> FromJson for Option<T> {
    fn read(&mut self, json: &Value) {
        *self = (!json.is_null()).then(|| {
            let mut some = T::default();
            some.read(json);
            some
        });
    }
}

/// A list takes the place of what was there.
impl<T: FromJson + Default> FromJson for Vec<T> {
    fn read(&mut self, json: &Value) {
        let Some(list) = json.as_array() else { return };
        self.clear();
        for item in list {
            let mut read = T::default();
            read.read(item);
            self.push(read);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Gives every member another value, so that a field that is not read shows.
    pub(crate) fn change(json: &mut Value) {
        let mut next = 7;
        change_all(json, &mut next);
    }

    fn change_all(json: &mut Value, next: &mut u64) {
        *next += 1;
        match json {
            Value::Null => {}
            Value::Bool(truth) => *truth = !*truth,
            Value::Number(_) => *json = (*next).into(),
            Value::String(text) => *text = format!("text {next}"),
            Value::Array(list) => list.iter_mut().for_each(|item| change_all(item, next)),
            Value::Object(map) => map.values_mut().for_each(|item| change_all(item, next)),
        }
    }

    read_from_json! {
    #[derive(Debug, Default, PartialEq)]
    struct Sample {
        text: String,
        number: u16,
        below: i64,
        list: Vec<u32>,
        maybe: Option<String>,
        flag: bool,
    }
    }

    #[test]
    fn what_fits_is_taken_and_nothing_else() {
        let check = |text: &str, want: Option<Sample>| assert_eq!(object(text), want, "{text}");
        check(
            r#"{"text":"a","number":65535,"below":-1,"list":[1,4294967295],"maybe":"b","flag":true,"new":{}}"#,
            Some(Sample {
                text: "a".into(),
                number: 65_535,
                below: -1,
                list: vec![1, u32::MAX],
                maybe: Some("b".into()),
                flag: true,
            }),
        );
        check("{}", Some(Sample::default()));
        check(
            r#"{"text":1,"number":65536,"below":"1","list":{},"maybe":null,"flag":1}"#,
            Some(Sample::default()),
        );
        for text in ["", "hi", "[]", "null", "1", "{", "{} {}"] {
            check(text, None);
        }
    }
}
