//! The set of signers that an evaluation has used, in order, so that the signers used by a rule that fails can be
//! removed again.

/// The used signers, one bit for each, with a log that allows returning to an earlier state.
#[derive(Debug)]
pub(super) struct UsedSigners {
    /// Bits of the first 128 signers. A set of no more signers allocates nothing for its bits.
    few: u128,
    many: Vec<bool>,
    log: Vec<usize>,
}

impl UsedSigners {
    /// An empty set over this number of signers.
    pub(super) fn of(signers: usize) -> Self {
        let many = if signers > 128 { vec![false; signers - 128] } else { Vec::new() };
        Self { few: 0, many, log: Vec::new() }
    }

    pub(super) fn contains(&self, signer: usize) -> bool {
        match signer.checked_sub(128) {
            None => self.few & (1 << signer) != 0,
            Some(index) => self.many.get(index).copied().unwrap_or(false),
        }
    }

    /// Adds a signer. Always returns true, so that it can end a condition.
    pub(super) fn insert(&mut self, signer: usize) -> bool {
        self.set(signer, true);
        self.log.push(signer);
        true
    }

    /// The number of signers in the set.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    /// Removes the signers that were added after the first `length`.
    pub(super) fn forget_from(&mut self, length: usize) {
        while self.log.len() > length {
            if let Some(signer) = self.log.pop() {
                self.set(signer, false);
            }
        }
    }

    fn set(&mut self, signer: usize, to: bool) {
        match signer.checked_sub(128) {
            None if to => self.few |= 1 << signer,
            None => self.few &= !(1 << signer),
            Some(index) => {
                if let Some(used) = self.many.get_mut(index) {
                    *used = to;
                }
            }
        }
    }
}
