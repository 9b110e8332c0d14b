//! Which signers an evaluation has counted already, and in which order: what a rule that does not hold has counted is
//! forgotten.

/// See the module's description.
#[derive(Debug)]
pub(super) struct Used {
    /// Of the first 128 signers: nobody has more, and then nothing is allocated.
    few: u128,
    many: Vec<bool>,
    log: Vec<usize>,
}

impl Used {
    /// Nobody of so many.
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

    /// Always true, for who writes it as a condition.
    pub(super) fn insert(&mut self, signer: usize) -> bool {
        self.set(signer, true);
        self.log.push(signer);
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    /// Forgets all but the first so many.
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
