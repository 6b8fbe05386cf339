//! What the code that `#[algo]` and `#[rollout]` generate calls, so that the macros only translate.
//!
//! Apart from the hyper-parameters, nothing here is for users.

mod output;
mod params;

#[doc(hidden)]
pub use output::IntoError;
pub use params::{Param, ParamError, Params, params_from_json, params_to_json, set_params};
#[doc(hidden)]
pub use params::{ParamField, deserialize_params, serialize_params, take_required};
