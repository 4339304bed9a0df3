//! Each rule, and a naive model.
