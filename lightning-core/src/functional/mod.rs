//! What the code that `#[algo]` and `#[rollout]` generate calls, so that the macros only translate.
//!
//! Hyper-parameters aside, nothing here is for users.

mod blocking;
mod output;
mod params;

#[doc(hidden)]
pub use blocking::run_blocking;
#[doc(hidden)]
pub use output::{Ghost, IntoError, NotResult, Probe, Returned};
#[doc(hidden)]
pub use params::{
    FromLiteral, ParamField, ParamType, debug_params, deserialize_params, param, serialize_params,
};
pub use params::{Param, ParamError, Params, param_names, params_from_json, params_to_json, set_params};
