//! doorbuster-inventory.
