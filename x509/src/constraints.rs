//! Name constraints: whether the names below an authority are ones that it may sign.
