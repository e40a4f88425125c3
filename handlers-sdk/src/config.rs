//! What the operator set for this binding.

use crate::host;

/// A value by its name, or a secret by the name the binding gives it. None when it is not set.
pub fn get(name: &str) -> Option<String> {
    host::config_get(name)
}
