//! An inventory as configuration: tables of hosts and groups, read through serde. Written by hand:
//! what is inherited has to be put together before the values are read, and errors name the host.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

use super::{ALL, Entry, Inventory, few, natural};

type Unread = serde_json::Error;

impl<'de, V: DeserializeOwned> Deserialize<'de> for Inventory<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As a struct, so that it may be flattened into another.
        let tables = deserializer.deserialize_struct("Inventory", &["hosts", "groups"], Tables)?;
        tables.inventory().map_err(D::Error::custom)
    }
}

/// `hosts` and `groups`, as they were read.
#[derive(Default)]
struct Both {
    hosts: Vec<(String, Keys)>,
    groups: Vec<(String, Keys)>,
}

/// The keys of one table, in order.
type Keys = Vec<(String, Value)>;

impl Both {
    fn inventory<V: DeserializeOwned>(self) -> Result<Inventory<V>, String> {
        let Self { mut hosts, mut groups } = self;
        hosts.sort_by(|(a, _), (b, _)| natural(a, b));
        groups.sort_by(|(a, _), (b, _)| natural(a, b));
        for (name, keys) in &groups {
            if let Some((key, _)) = keys.iter().find(|(key, _)| key == "address" || key == "groups")
            {
                return Err(format!(
                    "group `{name}`: `{key}` is for a host to say, not for a group"
                ));
            }
        }
        let hosts = hosts
            .into_iter()
            .map(|(name, keys)| {
                entry(name.clone(), keys, &groups).map_err(|why| format!("host `{name}`: {why}"))
            })
            .collect::<Result<_, _>>()?;
        let groups = groups.into_iter().map(|(name, _)| name).filter(|name| name != ALL).collect();
        Inventory { hosts, groups }.checked()
    }
}

/// A host, with what it inherits.
fn entry<V: DeserializeOwned>(
    name: String,
    keys: Keys,
    groups: &[(String, Keys)],
) -> Result<Entry<V>, String> {
    let (mut address, mut own_groups, mut own) = (None, Vec::new(), Keys::new());
    for (key, value) in keys {
        match (key.as_str(), value) {
            ("address", Value::String(text)) if !text.is_empty() => address = Some(text),
            ("address", _) => return Err("`address` is a text that is not empty".into()),
            ("groups", value) => {
                own_groups = Vec::<String>::deserialize(value)
                    .map_err(|_| "`groups` is a list of names".to_owned())?;
            }
            (_, value) => own.push((key, value)),
        }
    }
    let mut values = Keys::new();
    let mut inherit = |keys: &Keys| {
        for (key, value) in keys {
            match values.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = value.clone(),
                None => values.push((key.clone(), value.clone())),
            }
        }
    };
    let table = |wanted: &str| groups.iter().find(|(name, _)| name == wanted);
    table(ALL).into_iter().for_each(|(_, keys)| inherit(keys));
    own_groups.retain(|group| group != ALL);
    for group in &own_groups {
        let Some((_, keys)) = table(group) else {
            let known: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { few(&known) };
            return Err(format!(
                "there is no group `{group}`; there is: {known} (a table [groups.{group}] makes \
                 one, it may be empty)"
            ));
        };
        inherit(keys);
    }
    inherit(&own);
    Ok(Entry { name, address, groups: own_groups, values: read(values)? })
}

/// Reads the values of a host; the error names the key.
fn read<V: DeserializeOwned>(keys: Keys) -> Result<V, String> {
    let at = RefCell::new(None);
    V::deserialize(Values { keys, at: &at }).map_err(|error| match at.take() {
        Some(key) => format!("`{key}`: {error}"),
        None => error.to_string(),
    })
}

/// The values of one host. As a struct it knows which keys there may be.
struct Values<'a> {
    keys: Keys,
    /// The key that is being read.
    at: &'a RefCell<Option<String>>,
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Unread;

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, Unread> {
        let Self { keys, at } = self;
        let noted = keys.into_iter().map(|(key, value)| {
            *at.borrow_mut() = Some(key.clone());
            (key, Noted { value, at })
        });
        visitor.visit_map(MapDeserializer::new(noted))
    }

    fn deserialize_struct<W: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: W,
    ) -> Result<W::Value, Unread> {
        if let Some((key, _)) = self.keys.iter().find(|(key, _)| !fields.contains(&key.as_str())) {
            let known = ["address", "groups"].iter().chain(fields).copied().collect::<Vec<_>>();
            return Err(Unread::custom(format!(
                "there is no key `{key}`; there is: {}",
                few(&known)
            )));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, Unread> {
        match self.keys.first() {
            None => visitor.visit_unit(),
            Some((key, _)) => {
                Err(Unread::custom(format!("there is no key `{key}`; there is: address, groups")))
            }
        }
    }

    fn deserialize_unit_struct<W: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: W,
    ) -> Result<W::Value, Unread> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<W: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: W,
    ) -> Result<W::Value, Unread> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, Unread> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// A value that says when it was read well: what is wrong after that is no fault of its key.
struct Noted<'a> {
    value: Value,
    at: &'a RefCell<Option<String>>,
}

impl<'de> IntoDeserializer<'de, Unread> for Noted<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// Every way to read a value is the value's own.
macro_rules! through {
    ($($method:ident($($arg:ident: $kind:ty),*))*) => {$(
        fn $method<W: Visitor<'de>>(self $(, $arg: $kind)*, visitor: W) -> Result<W::Value, Unread> {
            let read = self.value.$method($($arg,)* visitor)?;
            self.at.take();
            Ok(read)
        }
    )*};
}

impl<'de> Deserializer<'de> for Noted<'_> {
    type Error = Unread;
    through! {
        deserialize_any() deserialize_option() deserialize_unit()
        deserialize_newtype_struct(name: &'static str)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq
        unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// Reads the two tables.
struct Tables;

impl<'de> Visitor<'de> for Tables {
    type Value = Both;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table `hosts` and, if there are groups, a table `groups`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Both, A::Error> {
        let mut both = Both::default();
        while let Some(key) = map.next_key::<String>()? {
            let table = match key.as_str() {
                "hosts" => &mut both.hosts,
                "groups" => &mut both.groups,
                _ => {
                    return Err(A::Error::custom(format!(
                        "there is no key `{key}`; there is: hosts, groups"
                    )));
                }
            };
            if !table.is_empty() {
                return Err(A::Error::custom(format!("`{key}` is there twice")));
            }
            *table = map
                .next_value::<Pairs<Pairs<Value>>>()?
                .0
                .into_iter()
                .map(|(name, Pairs(keys))| (name, keys))
                .collect();
        }
        Ok(both)
    }
}

/// A table as it stands: in order, and with what stands in it twice refused.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs: Vec<(String, T)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("`{key}` is there twice")));
            }
            let value = map.next_value()?;
            pairs.push((key, value));
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    struct Web {
        port: u16,
        #[serde(default)]
        weight: u8,
        #[serde(default)]
        server_names: Vec<String>,
        #[serde(default)]
        zone: Option<String>,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Front,
        Back,
    }

    fn web(json: &str) -> Result<Inventory<Web>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn values_come_from_the_host_then_its_last_group_then_all() {
        let inventory = web(r#"{"hosts": {
                "web-10": {"groups": ["web", "eu"], "kind": "back"},
                "web-2": {"groups": ["eu", "web"], "weight": 9, "zone": null},
                "other": {"port": 1, "address": "192.0.2.9", "server-names": ["a", "b"]}
            }, "groups": {
                "eu": {"weight": 2, "zone": "eu"},
                "web": {"weight": 1, "port": 80},
                "all": {"port": 99, "weight": 7}
            }}"#)
        .unwrap();
        let said: Vec<_> = inventory
            .all()
            .iter()
            .map(|entry| {
                format!("{entry} at {} in {:?}: {:?}", entry.at(), entry.groups(), entry.values())
            })
            .collect();
        insta::assert_snapshot!(said.join("\n"));
        assert_eq!(inventory.groups().collect::<Vec<_>>(), ["eu", "web"]);
    }

    #[test]
    fn what_is_wrong_names_the_host_and_the_key_and_lists_what_there_is() {
        let host = |keys: &str| {
            format!(r#"{{"hosts": {{"web-1": {keys}}}, "groups": {{"web": {{"port": 80}}}}}}"#)
        };
        let said: Vec<String> = [
            host(r#"{"port": 80, "wieght": 5}"#),
            host(r#"{"port": "http"}"#),
            host(r#"{"port": 80, "zone": 5}"#),
            host(r#"{"port": 80, "kind": "middle"}"#),
            host(r#"{}"#),
            host(r#"{"groups": ["wbe"]}"#),
            host(r#"{"groups": "web"}"#),
            host(r#"{"groups": ["web"], "address": 7}"#),
            host(r#""192.0.2.1""#),
            host(r#"{"groups": ["web"]}, "web-1": {"port": 1}"#),
            r#"{"hosts": {"web": {"port": 1}}, "groups": {"web": {}}}"#.to_owned(),
            r#"{"hosts": {"a": {"port": 1}}, "groups": {"web": {"address": "x"}}}"#.to_owned(),
            r#"{"hosts": {"a": {"port": 1}}, "gruops": {}}"#.to_owned(),
            r#"{"hosts": {}}"#.to_owned(),
            r#"[]"#.to_owned(),
        ]
        .iter()
        .map(|json| web(json).unwrap_err())
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn hosts_without_values_take_none() {
        let plain = r#"{"hosts": {"a": {}, "b": {"address": "192.0.2.2"}}}"#;
        let inventory: Inventory = serde_json::from_str(plain).unwrap();
        assert_eq!(inventory.all().names().collect::<Vec<_>>(), ["a", "b"]);
        let error = serde_json::from_str::<Inventory>(r#"{"hosts": {"a": {"port": 1}}}"#);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("host `a`: there is no key `port`"), "{error}");
    }

    #[test]
    fn it_can_be_flattened_into_an_environment() {
        #[derive(Deserialize)]
        struct Shop {
            root: String,
            #[serde(flatten)]
            fleet: Inventory<Web>,
        }
        let json = r#"{"root": "/srv", "hosts": {"a": {"port": 1}}}"#;
        let shop: Shop = serde_json::from_str(json).unwrap();
        assert_eq!((shop.root.as_str(), shop.fleet.all().len()), ("/srv", 1));
        let map: Inventory<std::collections::BTreeMap<String, u16>> =
            serde_json::from_str(r#"{"hosts": {"a": {"any": 1}}}"#).unwrap();
        assert_eq!(map.get("a").unwrap().values()["any"], 1);
    }
}
