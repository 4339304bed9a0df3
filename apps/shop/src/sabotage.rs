//! Faults that are built in on purpose, so that tests can see the proof find them.
//!
//! They are chosen by the variable `SHOP_SABOTAGE`, which no help text names.

/// Which faults are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sabotage {
    /// Payment charges under a key of its own invention, twice.
    pub(crate) charge_twice: bool,
    /// Payment acks some orders without doing anything.
    pub(crate) forget: bool,
    /// Inventory reserves what is not there.
    pub(crate) oversell: bool,
}

impl Sabotage {
    /// The faults that the variable names.
    pub(crate) fn from_environment() -> Self {
        let wanted = std::env::var("SHOP_SABOTAGE").unwrap_or_default();
        let has = |name: &str| wanted.split(',').any(|fault| fault == name);
        Self { charge_twice: has("charge-twice"), forget: has("forget"), oversell: has("oversell") }
    }
}
