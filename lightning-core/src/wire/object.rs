//! Objects that are written as objects.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, value::MapAccessDeserializer},
};

/// A struct that is an object in JSON. Serde itself would also take a list of its fields' values, in their order.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        // What is found instead may be a secret, so it is not repeated.
        fn refuse<T, E: de::Error>(found: &str) -> Result<T, E> {
            Err(E::custom(format_args!("expected an object and found {found}")))
        }

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Object<T>, E> {
                refuse("text")
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Object<T>, E> {
                refuse("a number")
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Object<T>, E> {
                refuse("a number")
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Object<T>, E> {
                refuse("a number")
            }
        }

        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}
