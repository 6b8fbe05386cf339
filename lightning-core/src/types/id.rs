//! Ids as newtypes: cheap to clone, impossible to mix up.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// A clone shares the text.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as it is written on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<S: Into<Arc<str>>> From<S> for $name {
            fn from(text: S) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Names a rollout: `ro-` and 12 hexadecimal digits when the store chose it.
    RolloutId;
    /// Names an attempt within its rollout: `at-` and 8 hexadecimal digits when the store chose it.
    AttemptId;
    /// Names a set of resources over all its versions: `rs-` and 12 hexadecimal digits when the store chose it.
    ResourcesId;
    /// Names a worker: a runner's slot, unique over machines and processes.
    WorkerId;
}
